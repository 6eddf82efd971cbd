"""`vh login` with a token and with a password."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from fixtures.client import Vh
from fixtures.stack import Stack


def test_login_by_token(stack: Stack, new_folder: Callable[[], Path]) -> None:
    folder = new_folder()
    vh = Vh(folder / "config", folder)
    done = vh("login", "--host", stack.url, "--token", stack.access["token"])
    assert f"Hey {stack.access['user']}!" in done.text
    assert json.loads((vh.config / "config.json").read_text())["user"]["username"] == stack.access["user"]


def test_login_by_password_gives_a_token_that_works(stack: Stack, new_folder: Callable[[], Path]) -> None:
    folder = new_folder()
    vh = Vh(folder / "config", folder)
    done = vh("login", "--host", stack.url, "-u", stack.access["user"], "-p", stack.access["password"])
    assert "Logged in." in done.text
    token = json.loads((vh.config / "config.json").read_text())["token"]
    assert token and token != stack.access["password"]
    vh("project", "list")


def test_wrong_password_is_one_sentence(stack: Stack, new_folder: Callable[[], Path]) -> None:
    folder = new_folder()
    vh = Vh(folder / "config", folder)
    done = vh("login", "--host", stack.url, "-u", stack.access["user"], "-p", "wrong", code=None)
    assert done.code != 0
    assert "API Error: * Unable to log in with these credentials." in done.err
    assert not (vh.config / "config.json").exists()


def test_wrong_token_is_one_sentence(stack: Stack, new_folder: Callable[[], Path]) -> None:
    folder = new_folder()
    vh = Vh(folder / "config", folder)
    done = vh("login", "--host", stack.url, "--token", "not-a-token", code=None)
    assert done.code != 0
    assert "token" in done.text and "Logged in" not in done.text
