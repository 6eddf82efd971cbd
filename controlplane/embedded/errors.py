"""What can keep one machine's control plane from starting."""

from __future__ import annotations


class SetupError(RuntimeError):
    """The machine or its state folder forbids it; the message says what to do."""
