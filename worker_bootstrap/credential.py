"""The join credential: one line that an operator types once on a machine, or that stands in a cloud's secret store.

It lets its holder ask to join one group, and says whom to trust: never an argument of a command, where every user
of the machine could read it.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass, field

from worker_bootstrap.protocol import typed
from worker_bootstrap.protocol.errors import ProtocolError

PREFIX = "remora-join-1:"
MAX_BYTES = 64 * 1024


@dataclass(frozen=True)
class JoinCredential:
    """Where the queue is, two secrets, and what makes TLS and releases trustworthy (PEM texts, base64 keys)."""

    queue_url: str
    group: str
    join_password: str = field(repr=False)
    join_secret: str = field(repr=False)
    installation: str = ""
    release_keys: list[str] = field(default_factory=list)
    ca: str = ""
    certificate: str = ""
    key: str = field(default="", repr=False)

    def encode(self) -> str:
        """One line of text."""
        return PREFIX + base64.urlsafe_b64encode(typed.dumps(self)).decode().rstrip("=")


def decode(text: str) -> JoinCredential:
    """The credential of a line. Raises ProtocolError."""
    line = "".join(text.split())
    if not line.startswith(PREFIX):
        raise ProtocolError(f"no join credential: it begins with {PREFIX}")
    packed = line.removeprefix(PREFIX)
    try:
        raw = base64.urlsafe_b64decode(packed + "=" * (-len(packed) % 4))
    except ValueError as error:
        raise ProtocolError("the join credential is damaged: copy the whole line") from error
    try:
        return typed.load(JoinCredential, typed.parse(raw, MAX_BYTES, 4))
    except ProtocolError as error:
        raise ProtocolError(f"the join credential is damaged: copy the whole line ({error})") from error
