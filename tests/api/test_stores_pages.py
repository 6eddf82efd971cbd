"""The page of a project's stores, as a browser without scripts uses it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from controlplane.settings import Settings
from fixtures.store_rigs import HERE, Rig, make_rig
from fixtures.web import FakeClock, World

pytestmark = pytest.mark.needs("versitygw")


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"allowed_networks": HERE})


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock.of_today()


@pytest.fixture
def rig(request: pytest.FixtureRequest) -> Rig:
    return make_rig("s3", request)


def page(world: World, who: str = "ann", path: str = "", **form: Any) -> Any:
    """The page, or what comes of its form."""
    browser = world.browser(who)
    address = f"/projects/{world.project}/stores{path}"
    if not form:
        return browser.get(address, headers={"Accept": "text/html"})
    data = {"csrf": browser.csrf, **form}
    return browser.post(address, data=data, headers={"Accept": "text/html"})


def test_a_store_from_the_form_to_its_end(world, rig, tmp_path: Path):
    added = page(world, kind="s3", name="bucket", **rig.config)
    assert added.status_code == 303, added.text
    shown = page(world).text
    assert f"s3://{rig.config['bucket']}/" in shown
    assert rig.config["secret_access_key"] not in shown
    store_id = world.client("ann").get("/api/v0/stores/").json["results"][0]["id"]
    tried = page(world, path=f"/{store_id}/test", a="")
    assert "The store can be used" in tried.text
    assert "A second writer was refused." in tried.text
    assert page(world, path="/default", store=store_id).status_code == 303
    assert "go here" in page(world).text
    (tmp_path / "x").write_bytes(b"x")
    rig.store.put_file("a/b.csv", tmp_path / "x")
    url = f"s3://{rig.config['bucket']}/a/b.csv"
    assert "datum://" in page(world, path="/adopt", url=url).text
    refused = page(world, path=f"/{store_id}/remove", a="")
    assert refused.status_code == 400
    assert "1 files that Remora knows are in bucket" in refused.text
    assert page(world, path="/default", store="").status_code == 303
    assert "go here" not in page(world).text


def test_a_refusal_stands_at_its_field_and_keeps_what_was_typed(world, rig):
    answer = page(world, kind="s3", name="b", **{**rig.config, "bucket": "a..b/"})
    assert answer.status_code == 400
    assert 'id="bucket-error"' in answer.text
    assert 'value="a..b/"' in answer.text
    assert rig.config["secret_access_key"] not in answer.text
    assert page(world, path="/adopt", url="s3://nobody/x").status_code == 400
    assert "No store of this project holds" in page(world, path="/adopt", url="s3://nobody/x").text


def test_each_kind_has_its_fields(world):
    for kind, name in (("gcs", "service_account_json"), ("azure", "account_key"), ("swift", "temp_url_key")):
        assert f'name="{name}"' in page(world, path=f"?kind={kind}").text


def test_who_may_only_look_sees_no_forms(world, rig):
    page(world, kind="s3", name="bucket", **rig.config)
    shown = page(world, "ped")
    assert shown.status_code == 200
    assert "Add the store" not in shown.text
    assert "Take in" not in shown.text
    assert page(world, "ped", kind="s3", name="other", **rig.config).status_code == 403
    assert page(world, "eve").status_code == 404
