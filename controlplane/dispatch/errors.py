"""Why a queue is of no use now. Apart from the queue itself, so that who only names them loads no cryptography."""

from __future__ import annotations


class QueueError(RuntimeError):
    """The queue does not answer now, or not in time."""


class QueueRefusedError(QueueError):
    """The queue answers and refuses: a wrong login, a missing permission, no memory left."""
