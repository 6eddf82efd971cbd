"""The table of permissions, on its own."""

from __future__ import annotations

import pytest

from controlplane.errors import NotFoundError, PermissionDeniedError
from controlplane.permissions import READ_OF, TABLE, Actor, can, require

ROLES = {
    "user",
    "operator",
    "owner",
    "admin",
    "member",
    "viewer",
    "project:admin",
    "project:contributor",
    "project:viewer",
}


def person(organization: str = "", project: str = "", *, operator: bool = False) -> Actor:
    return Actor(
        "u",
        "u",
        is_operator=operator,
        organizations={"o": organization} if organization else {},
        projects={"p": project} if project else {},
    )


def test_only_known_roles_stand_in_it() -> None:
    for action, roles in TABLE.items():
        assert roles and roles <= ROLES, action
        assert not roles & {"user", "operator"} or len(roles) == 1, (
            f"{action} mixes roles of things with roles of people"
        )


def test_the_operator_sees_no_contents() -> None:
    operator = person(operator=True)
    for action in TABLE:
        if action.partition(".")[0] in ("project", "commit", "execution", "data", "variable") and TABLE[action] != {
            "user"
        }:
            assert not can(operator, action, "o", "p"), action


def test_the_strongest_role_wins() -> None:
    assert can(person("viewer", "contributor"), "execution.create", "o", "p")
    assert can(person("member", "viewer"), "execution.create", "o", "p")
    assert not can(person("viewer", "viewer"), "execution.create", "o", "p")
    assert can(person("admin"), "variable.write", "o", "p")
    assert not can(person("", "contributor"), "variable.write", "o", "p")


def test_roles_do_not_reach_other_things() -> None:
    for action in TABLE:
        if TABLE[action] & {"user"}:
            continue
        assert not can(person("owner", "admin"), action, "other", "other"), action
        assert not can(person("", "admin"), action, "o", "other"), action


def test_viewers_only_read() -> None:
    allowed = {action for action, roles in TABLE.items() if roles & {"viewer", "project:viewer"}}
    assert allowed == {
        "organization.read", "project.read", "commit.read", "execution.read", "data.read", "data.download",
        "registry.read", "store.read", "team.read",
    }  # fmt: skip


def test_hidden_and_denied_differ() -> None:
    with pytest.raises(NotFoundError):
        require(person(), "execution.create", "o", "p")
    with pytest.raises(PermissionDeniedError, match=r"execution\.create"):
        require(person("viewer"), "execution.create", "o", "p")
    require(person("member"), "execution.create", "o", "p")


def test_reading_actions_are_in_the_table() -> None:
    assert set(READ_OF.values()) <= set(TABLE)


def test_an_unknown_action_is_a_defect() -> None:
    with pytest.raises(KeyError):
        can(person("owner"), "no.such", "o", "p")
