"""What can be wrong on a host."""

from __future__ import annotations


class HostError(RuntimeError):
    """The machine or what was typed forbids it; the message says what to do."""
