"""Projects, environments and commits by the client."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from fixtures.stack import Stack
from fixtures.work import Work


def test_create_links_the_folder(stack: Stack, new_folder: Callable[[], Path]) -> None:
    vh = stack.vh(new_folder())
    done = vh("project", "create", "--name", "made-here", "--description", "told so", "--yes")
    assert "/made-here created." in done.text
    assert "Linked" in done.text and "to made-here" in done.text
    assert "# Project made-here" in vh("project", "status").text


def test_create_by_owner_without_link(stack: Stack, new_folder: Callable[[], Path]) -> None:
    vh = stack.vh(new_folder())
    with stack.api() as api:
        owner = api.get("projects/ownership_options/").json()[0]
    done = vh("project", "create", "--name", "owned", "--owner", owner, "--no-link", "--yes")
    assert "Project " in done.text and "/owned created." in done.text
    assert "Links left alone" in done.text


def test_create_twice_says_so(work: Work, new_folder: Callable[[], Path]) -> None:
    done = work.vh.at(new_folder())("project", "create", "--name", "compat", "--yes", code=None)
    assert done.code != 0
    assert "name:" in done.text


def test_link_by_name(work: Work, new_folder: Callable[[], Path]) -> None:
    vh = work.vh.at(new_folder())
    assert "to compat" in vh("project", "link", "compat", "--yes").text
    assert "# Project compat" in vh("project", "status").text


def test_list(work: Work) -> None:
    assert "compat" in work.vh("project", "list").out


def test_environments(work: Work) -> None:
    with work.stack.api() as api:
        known = api.get("environments/").json()["results"]
    shown = work.vh("environments", "--gpu", "--price", "--queue").out
    assert known and all(group["slug"] in shown and group["name"] in shown for group in known)


def test_environment_variables(work: Work, new_folder: Callable[[], Path]) -> None:
    vh = work.vh.at(new_folder())
    vh("project", "create", "--name", "variables", "--yes")
    vh("project", "environment-variables", "create", "PLAIN=seen")
    vh("project", "environment-variables", "create", "--secret", "HIDDEN=never-shown")
    shown = vh("project", "environment-variables", "list").out
    assert "PLAIN" in shown and "seen" in shown and "HIDDEN" in shown
    assert "never-shown" not in shown
    vh("project", "environment-variables", "delete", "PLAIN")
    assert "PLAIN" not in vh("project", "environment-variables", "list").out
