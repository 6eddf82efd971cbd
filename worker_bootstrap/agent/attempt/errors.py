"""How an attempt's thread leaves its normal way."""

from __future__ import annotations

from worker_bootstrap.agent import reasons
from worker_bootstrap.agent.files import FULL


class AttemptError(Exception):
    """The attempt ends: `outcome` error | failed | stopped, `reason` of reasons.py, `detail` for people."""

    def __init__(self, outcome: str, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.outcome = outcome
        self.reason = reason
        self.detail = detail


class HaltedError(Exception):
    """The agent ends; the attempt goes on under the next one."""


def user_error(reason: str, detail: str) -> AttemptError:
    """Ended by what the user asked for: not tried again."""
    return AttemptError("error", reason, detail)


def infrastructure_error(reason: str, detail: str) -> AttemptError:
    """Ended by the machine or a service: the master tries again elsewhere."""
    return AttemptError("failed", reason, detail)


def from_os_error(error: OSError) -> AttemptError:
    """A full disk has its own reason; everything else is the agent's trouble."""
    where = f" ({error.filename})" if error.filename else ""
    text = f"{error.strerror or type(error).__name__}{where}"
    if error.errno in FULL:
        return infrastructure_error(reasons.DISK_FULL, text)
    return infrastructure_error(reasons.AGENT_ERROR, text)
