"""What importing a document changes, and what an installer is told of the control plane."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from controlplane.environments.changes import Change, compare
from controlplane.environments.invitation import invite, yaml_text
from controlplane.errors import ValidationError

ROLE = "arn:aws:iam::111122223333:role/remora-master"


def document(*slugs: str, **queue: str) -> dict[str, Any]:
    return {
        "flavour": "on_prem",
        "provider": "ssh",
        "queue": {"url": "rediss://a:1/0", **queue},
        "stores": [{"name": "data", "location": "s3://b"}],
        "groups": [{"slug": slug, "scale_max": 1} for slug in slugs],
    }


def test_everything_is_added_at_first_and_nothing_the_second_time() -> None:
    found = compare(None, document("a"), {}, {})
    assert [(change.kind, change.part) for change in found] == [
        ("added", "installation"),
        ("added", "queue"),
        ("added", "store data"),
        ("added", "group a"),
    ]
    assert compare(document("a"), document("a"), {"a": True}, {"a": 3}) == []


def test_what_differs_is_named_by_field() -> None:
    found = compare(document("a"), document("a", url="rediss://b:1/0"), {"a": True}, {})
    assert found == [Change("changed", "queue", ("url",))]
    assert found[0].line() == "changed  queue: url"


def test_a_field_that_a_former_release_did_not_have_is_no_change() -> None:
    assert compare(document("a"), document("a", ca=""), {"a": True}, {}) == []


def test_a_group_with_machines_is_disabled_with_a_sentence_and_comes_back() -> None:
    (gone,) = compare(document("a", "b"), document("a"), {"a": True, "b": True}, {"b": 2})
    assert (gone.kind, gone.part) == ("disabled", "group b")
    assert gone.note == "2 machines are in it: they take nothing new, and what runs goes on"
    assert compare(document("a"), document("a"), {"a": True, "b": False}, {"b": 2}) == []
    back = compare(document("a", "b"), document("a", "b"), {"a": True, "b": False}, {})
    assert back == [Change("changed", "group b", ("enabled",))]


def test_an_invitation_is_the_object_master_of_a_configuration(tmp_path: Path) -> None:
    first = invite("https://remora.example.com/", ["203.0.113.7"], ["a2V5"], "aws", ROLE, tmp_path, "lab")
    again = invite("https://remora.example.com", ["203.0.113.7/32"], ["a2V5"], "aws", ROLE, tmp_path, "lab")
    assert first == again == yaml.safe_load(yaml_text(first))["master"]
    assert first["addresses"] == ["203.0.113.7/32"] and len(first["external_id"]) >= 32
    other = invite("https://remora.example.com", ["203.0.113.7"], ["a2V5"], "aws", ROLE, tmp_path, "other")
    assert other["external_id"] != first["external_id"]
    plain = invite("https://remora.example.com", ["203.0.113.7"], ["a2V5"], "", "", tmp_path, "")
    assert set(plain) == {"dashboard", "addresses", "release_keys"}


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"dashboard": "remora.example.com"}, "dashboard"),
        ({"addresses": ["203.0.113.7/8"]}, "address"),
        ({"principal": "remora-master"}, "principal"),
        ({"name": "../x"}, "name"),
    ],
)
def test_an_invitation_that_nobody_could_use_is_refused(tmp_path: Path, changes: dict[str, Any], field: str) -> None:
    values: dict[str, Any] = {"dashboard": "https://r.example.com", "addresses": ["203.0.113.7"]}
    values |= {"release_keys": ["a2V5"], "cloud": "aws", "principal": ROLE, "name": "lab", "keys": tmp_path}
    with pytest.raises(ValidationError) as caught:
        invite(**{**values, **changes})
    assert set(caught.value.fields) == {field}
