"""Logging in by API, as `vh login` does."""

from __future__ import annotations

import pytest

from controlplane.errors import NotFoundError, ValidationError
from fixtures.web import PASSWORD, World


@pytest.mark.parametrize("form", [True, False])
def test_token_for_name_and_password(world: World, form: bool) -> None:
    body = {"username": "ann", "password": PASSWORD}
    answer = world.client().post("/api/v0/get-token/", **({"data": body} if form else {"json": body}))
    assert answer.status_code == 200 and set(answer.json) == {"token"}
    world.tokens["again"] = answer.json["token"]
    me = world.client("again").get("/api/v0/users/me/")
    assert me.json["username"] == "ann" and me.json["id"] == world.users["ann"]


def test_bearer_works_too(world: World) -> None:
    headers = {"Authorization": f"Bearer {world.tokens['ann']}"}
    assert world.client().get("/api/v0/users/me/", headers=headers).json["username"] == "ann"


def test_missing_fields_are_named(world: World) -> None:
    answer = world.client().post("/api/v0/get-token/", data={"username": "ann"})
    assert answer.status_code == 400
    assert answer.json["password"][0]["code"] == "required"


def test_server_says_what_it_is(world: World) -> None:
    assert world.client().get("/api/v0/server/").json["flavor"] == "remora"


def test_operator_is_shown_as_such(world: World) -> None:
    assert world.client("ops").get("/api/v0/users/me/").json["is_operator"] is True
    assert world.client("ann").get("/api/v0/users/me/").json["is_operator"] is False


def test_own_tokens_are_listed_and_revoked(world: World) -> None:
    accounts = world.services.accounts
    rows = accounts.tokens(world.users["ann"])
    assert [row.name for row in rows] == ["test"]
    with pytest.raises(NotFoundError):
        accounts.revoke_token(world.users["eve"], rows[0].id)
    accounts.revoke_token(world.users["ann"], rows[0].id)
    assert accounts.tokens(world.users["ann"]) == []
    assert world.client("ann").get("/api/v0/users/me/").status_code == 401


@pytest.mark.parametrize("name", ["", "Ann", "a b", "-x", "a" * 64, "ä", "ann", "../x", "a\n"])
def test_bad_or_taken_names_are_refused(world: World, name: str) -> None:
    with pytest.raises(ValidationError) as caught:
        world.services.accounts.create_user(name)
    assert "username" in caught.value.fields


def test_generated_passwords_open_the_account(world: World) -> None:
    _, password = world.services.accounts.create_user("gen")
    assert len(password) >= 16
    assert world.services.accounts.authenticate("gen", password, "127.0.0.1")
    with pytest.raises(ValidationError, match="At least"):
        world.services.accounts.create_user("short", password="123456789")
