"""Tickets for the live stream: who may read one execution's log for a short while. `web` makes them, `stream` checks.

A ticket is `EXECUTION.ORGANIZATION.EXPIRES.SIGNATURE`; it stands in a header, never in an address.
"""

from __future__ import annotations

from dataclasses import dataclass

from controlplane.clock import Clock
from controlplane.db.ids import is_id
from controlplane.security.signing import derive, matches, sign

SCHEME = "Ticket"
LONGEST = 400


@dataclass(frozen=True)
class Ticket:
    """What a good ticket opens: one execution, read as a member of its organisation."""

    execution: str
    organization: str


class Tickets:
    """Makes and opens tickets under a key of their own; `ttl` is seconds."""

    def __init__(self, secret: bytes, ttl: int, clock: Clock) -> None:
        self._key = derive(secret, "stream-ticket")
        self._ttl = ttl
        self._clock = clock

    def make(self, execution: str, organization: str) -> str:
        """A ticket for this execution."""
        text = f"{execution}.{organization}.{int(self._clock().timestamp()) + self._ttl}"
        return f"{text}.{sign(self._key, text)}"

    def open(self, text: str, execution: str) -> Ticket | None:
        """What the ticket opens; None when it is forged, has ended or is for another execution."""
        if len(text) > LONGEST or not text.isascii():
            return None
        signed, _, signature = text.rpartition(".")
        if not matches(self._key, signed, signature):
            return None
        named, organization, expires = signed.split(".")
        if named != execution or not is_id(named) or int(expires) <= self._clock().timestamp():
            return None
        return Ticket(named, organization)
