"""A resource of a stack, as the rules see it: of a recorded program or an exported state."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Resource:
    """`kind`: Pulumi's type; `inputs`: what was asked for; the rest are options."""

    kind: str
    name: str
    inputs: Mapping[str, Any] = field(default_factory=dict)
    protect: bool = False
    retain: bool = False
    ignored: frozenset[str] = frozenset()

    def text(self, key: str) -> str:
        """An input that is text, or empty."""
        value = self.inputs.get(key)
        return value if isinstance(value, str) else ""

    def part(self, key: str) -> Mapping[str, Any]:
        """An input that is an object, or empty."""
        value = self.inputs.get(key)
        return value if isinstance(value, Mapping) else {}

    def parts(self, key: str) -> list[Mapping[str, Any]]:
        """An input that is a list of objects, or empty."""
        value = self.inputs.get(key)
        return [one for one in value if isinstance(one, Mapping)] if isinstance(value, list) else []

    def document(self, key: str) -> Mapping[str, Any]:
        """An input that is JSON text, or empty."""
        try:
            found = json.loads(self.text(key) or "{}")
        except ValueError:
            return {}
        return found if isinstance(found, Mapping) else {}


def of_state(export: Mapping[str, Any]) -> list[Resource]:
    """Resources of what `pulumi stack export` wrote; components and providers are left out."""
    rows: Iterable[Mapping[str, Any]] = export.get("deployment", {}).get("resources", [])
    return [
        Resource(
            kind=row["type"],
            name=row["urn"].rpartition("::")[2],
            # Tags that the provider gives to everything show in what came out of it.
            inputs={**row.get("inputs", {}), "tagsAll": row.get("outputs", {}).get("tagsAll") or {}},
            protect=bool(row.get("protect")),
            retain=bool(row.get("retainOnDelete")),
            ignored=frozenset(row.get("ignoreChanges", ())),
        )
        for row in rows
        if row.get("custom") and not row["type"].startswith("pulumi:")
    ]
