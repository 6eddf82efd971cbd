"""What importing a document would change: pure comparison of two documents of one installation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

Kind = Literal["added", "changed", "disabled"]


@dataclass(frozen=True)
class Change:
    """One part of an installation. `fields`: names of what differs, for `changed`."""

    kind: Kind
    part: str
    fields: Sequence[str] = ()
    note: str = ""

    def line(self) -> str:
        """For people."""
        what = f": {', '.join(self.fields)}" if self.fields else ""
        return f"{self.kind:<9}{self.part}{what}" + (f" ({self.note})" if self.note else "")

    def plain(self) -> dict[str, Any]:
        """For programs."""
        return {**asdict(self), "fields": list(self.fields)}


def compare(
    before: Mapping[str, Any] | None, after: Mapping[str, Any], enabled: Mapping[str, bool], machines: Mapping[str, int]
) -> list[Change]:
    """Changes from one document to the next; secrets are references in both.

    `enabled`: known groups by slug; `machines`: how many have not left, by slug.
    """
    changes = _parts("installation", before and _top(before), _top(after))
    changes += _parts("queue", before and before.get("queue"), after["queue"])
    changes += _list("store", "name", before, after, "stores")
    for one in after["groups"]:
        if enabled.get(one["slug"], True):
            changes += _parts(f"group {one['slug']}", _by("slug", before, "groups").get(one["slug"]), one)
        else:
            changes.append(Change("changed", f"group {one['slug']}", ("enabled",)))
    kept = {one["slug"] for one in after["groups"]}
    for slug in sorted(name for name, is_on in enabled.items() if is_on and name not in kept):
        count = machines.get(slug, 0)
        note = f"{count} machines are in it: they take nothing new, and what runs goes on" if count else ""
        changes.append(Change("disabled", f"group {slug}", (), note))
    return changes


def _top(document: Mapping[str, Any]) -> dict[str, Any]:
    return {name: document.get(name) for name in ("flavour", "provider")}


def _by(name: str, document: Mapping[str, Any] | None, part: str) -> dict[str, Any]:
    return {one[name]: one for one in (document or {}).get(part, ())}


def _list(kind: str, name: str, before: Mapping[str, Any] | None, after: Mapping[str, Any], part: str) -> list[Change]:
    known = _by(name, before, part)
    changes: list[Change] = []
    for one in after[part]:
        changes += _parts(f"{kind} {one[name]}", known.get(one[name]), one)
    return changes


def _parts(part: str, before: Mapping[str, Any] | None, after: Mapping[str, Any]) -> list[Change]:
    if before is None:
        return [Change("added", part)]
    names = tuple(sorted(name for name in after if before.get(name, _empty(after[name])) != after[name]))
    return [Change("changed", part, names)] if names else []


def _empty(value: Any) -> Any:
    """What a document of a former release says of a field that it did not have: nothing."""
    return type(value)() if isinstance(value, str | list | dict) else None
