"""Caps on everything that a user can grow: each with its number and its sentence, in one place.

`REMORA_LIMITS` puts other numbers in their place. `docs/reference/limits.md` is generated from here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from controlplane.errors import DomainError


class LimitReachedError(DomainError):
    """One more would be above a cap."""

    status = 409
    code = "limit_reached"


@dataclass(frozen=True)
class Limit:
    """`what` is counted within `where`; `remedy` says what to do when there is no room."""

    name: str
    most: int
    what: str
    where: str
    remedy: str


LIMITS: Mapping[str, Limit] = {
    entry[0]: Limit(*entry)
    for entry in (
        ("projects", 1_000, "projects", "an organisation", "delete one that is not used"),
        ("tokens", 200, "tokens", "a user", "log in again: that ends the oldest one that a login made"),
        ("tags", 100, "tags", "an execution or a file", "take some away"),
        ("comments", 1_000, "comments", "an execution", "delete some"),
        ("comment_length", 10_000, "characters", "a comment", "write less, or attach a file as data"),
        ("pins", 200, "pinned executions", "a project", "unpin one"),
        ("variables", 500, "environment variables", "a project, an organisation or a group", "delete one"),
        ("variable_groups", 200, "groups of environment variables", "an organisation", "delete one"),
        ("registry_credentials", 500, "credentials of registries", "an organisation", "delete one that is not used"),
        ("aliases", 10_000, "aliases", "a project", "delete one, or move one that is there"),
        ("metadata_bytes", 256_000, "bytes of metadata as JSON", "a file", "keep less there"),
        ("uploads", 100, "open uploads", "a project", "complete or abort one"),
        ("upload_bytes", 5 << 40, "bytes", "an upload", "split the file"),
        ("stores", 100, "stores", "an organisation", "delete one that is not used"),
        ("teams", 200, "teams", "an organisation", "delete one that is not used"),
        ("team_members", 500, "members", "a team", "take somebody out, or make another team"),
        ("bulk", 1_000, "executions", "one call for several", "call again for those that are left"),
    )
}

# Measured where workers' messages are applied: what is above is left out, and said once in the execution's events.
POINTS = Limit("metadata_points", 1_000_000, "points of metadata", "an execution", "print them less often")
OUTPUTS = Limit("outputs", 100_000, "output files", "an attempt", "put them into archives")
METADATA_KEYS = Limit("metadata_keys", 500, "names in the newest metadata", "an execution", "use fewer names")


class Limits:
    """The caps with the numbers of this control plane."""

    def __init__(self, other: Mapping[str, int] | None = None) -> None:
        self._other = other or {}

    def most(self, name: str) -> int:
        """The number of a cap."""
        return self._other.get(name, LIMITS[name].most)

    def check(self, name: str, count: int) -> None:
        """Raise LimitReachedError when `count` is above the cap."""
        most = self.most(name)
        if count > most:
            raise LimitReachedError(f"{sentence(LIMITS[name], most)}; {LIMITS[name].remedy}.")


def sentence(limit: Limit, most: int) -> str:
    """The cap in words, without a full stop."""
    place = limit.where[0].upper() + limit.where[1:]
    return f"{place} has at most {most:,} {limit.what}"
