"""The page of registries: everything by forms, nothing shown that is secret."""

from __future__ import annotations

import html
import re
from pathlib import Path
from typing import Any

import pytest

from fixtures.web import Browser, World

SECRET = "hunter2-never-shown"
FORM = {"type": "docker", "image_pattern": "127.0.0.1:1/team/*", "username": "alice", "password": SECRET}


@pytest.fixture
def database_url(tmp_path: Path, sqlite_template: Path) -> str:
    """One database is enough: this is about the page."""
    target = tmp_path / "pages.db"
    target.write_bytes(sqlite_template.read_bytes())
    return f"sqlite:///{target}"


def send(browser: Browser, path: str = "/registries/", **form: str) -> Any:
    return browser.post(path, data={"csrf": browser.csrf, **form})


def text_of(answer: Any) -> str:
    return html.unescape(re.sub(r"<[^>]+>", "", answer.text))


def test_add_test_and_remove(world: World) -> None:
    ann = world.browser("ann")
    assert "No credentials yet" in ann.get("/registries/").text
    added = send(ann, **FORM, **{"for": f"o:{world.organization_of('ann')}"})
    assert (added.status_code, added.headers["Location"]) == (303, "/registries/"), added.text
    page = ann.get("/registries/")
    assert "127.0.0.1:1/team/*" in page.text and "everything of ann" in text_of(page)
    credential = re.findall(r"credential-([0-9a-f-]{36})", page.text)[0]
    tried = send(ann, "/registries/test", credential=credential, image="127.0.0.1:1/team/x")
    assert tried.status_code == 200
    assert "no address that may be used from here" in text_of(tried) and "Look at the host" in text_of(tried)
    asked = ann.get(f"/registries/{credential}/remove")
    assert "Remove the credential?" in asked.text
    assert ann.get("/registries/").text.count("credential-") == 1, "asking removes nothing"
    assert send(ann, f"/registries/{credential}/remove").status_code == 303
    assert "No credentials yet" in ann.get("/registries/").text
    assert not any(SECRET in answer.text for answer in (added, page, tried, asked))


def test_a_refusal_shows_the_form_again_without_its_secret(world: World) -> None:
    ann = world.browser("ann")
    answer = send(ann, **FORM | {"image_pattern": "*", "for": f"p:{world.project}"})
    assert answer.status_code == 400
    assert "Write the registry's host out" in text_of(answer) and 'value="alice"' in answer.text
    assert f'value="p:{world.project}" selected' in answer.text
    assert SECRET not in answer.text
    foreign = send(ann, **FORM, **{"for": f"p:{world.foreign}"})
    assert foreign.status_code == 400 and "No project" in text_of(foreign)
    assert "No credentials yet" in ann.get("/registries/").text


@pytest.mark.parametrize("kind", ["docker", "aws-ecr", "aws-ecr-role", "gcp-cr", "azure-acr", "<script>"])
def test_each_type_has_its_form(world: World, kind: str) -> None:
    page = world.browser("ann").get("/registries/", query_string={"type": kind})
    assert page.status_code == 200 and "<script>" not in page.text.replace("<script type", "")
    wanted = kind if kind != "<script>" else "docker"
    assert f'name="type" value="{wanted}"' in page.text
    assert "workload_identity" not in page.text, "only an operator sees that"


def test_who_may_only_look(world: World) -> None:
    send(world.browser("ann"), **FORM, **{"for": f"o:{world.organization_of('ann')}"})
    vic = world.browser("vic")
    page = vic.get("/registries/")
    # A viewer of ann's organisation sees the credential; the form is for the viewer's own one.
    assert "127.0.0.1:1/team/*" in page.text and "/remove" not in page.text
    credential = re.findall(r"credential-([0-9a-f-]{36})", page.text)[0]
    assert send(vic, f"/registries/{credential}/remove").status_code == 403
    assert vic.get(f"/registries/{credential}/remove").status_code == 403
    assert send(vic, **FORM, **{"for": f"o:{world.organization_of('ann')}"}).status_code == 403
    eve = world.browser("eve")
    assert "127.0.0.1:1" not in eve.get("/registries/").text
    assert send(eve, "/registries/test", credential=credential).status_code == 404
    assert send(vic, "/registries/test", credential=credential).status_code == 403


def test_a_form_of_another_site_does_nothing(world: World) -> None:
    ann = world.browser("ann")
    assert ann.post("/registries/", data={**FORM, "csrf": "wrong"}).status_code == 403
    assert "No credentials yet" in ann.get("/registries/").text
