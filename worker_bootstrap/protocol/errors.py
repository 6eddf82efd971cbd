"""What can be wrong with something that came over the wire."""

from __future__ import annotations


class ProtocolError(ValueError):
    """A message that breaks the protocol: it is dropped and counted, never guessed at."""


class BadSignatureError(ProtocolError):
    """The signature doesn't belong to these bytes and that key."""


class TooLargeError(ProtocolError):
    """A batch is above the cap of size or depth."""
