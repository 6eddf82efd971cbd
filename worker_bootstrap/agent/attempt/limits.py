"""When a running attempt is ended, how, and what its end is called. Pure."""

from __future__ import annotations

from worker_bootstrap.agent import reasons
from worker_bootstrap.agent.attempt.state import Verdict
from worker_bootstrap.agent.runtime.base import ExitInfo
from worker_bootstrap.protocol.job import Limits
from worker_bootstrap.protocol.messages import Stop


def why_stop(request: Stop | None, limits: Limits, ran: float, silent: float, *, disk_full: bool = False) -> str:
    """The reason to stop now, or empty. `ran` and `silent`: seconds since start and since the last output."""
    if request is not None:
        return request.reason or reasons.STOPPED
    if limits.time_limit and ran >= limits.time_limit:
        return reasons.TIME_LIMIT
    if limits.no_output_timeout and silent >= limits.no_output_timeout:
        return reasons.NO_OUTPUT
    return reasons.DISK_FULL if disk_full else ""


def signal_due(stopping: float, grace: float, *, kill: bool) -> str:
    """The strongest signal that is due `stopping` seconds after the decision to stop."""
    if kill or stopping >= 2 * grace:
        return "SIGKILL"
    return "SIGTERM" if stopping >= grace else "SIGINT"


def verdict(info: ExitInfo, why: str, memory: int) -> Verdict:
    """How an attempt whose container ended is called.

    `why` it was stopped, empty if it ended by itself; `memory`: the container's limit in bytes.
    """
    code = info.exit_code
    if why in (reasons.TIME_LIMIT, reasons.NO_OUTPUT):
        return Verdict("error", why, code)
    if why == reasons.DISK_FULL:
        return Verdict("failed", why, code, "its command was ended before nothing was left")
    if why:
        return Verdict("stopped", why, code)
    if code == 0:
        return Verdict("complete", reasons.DONE, 0)
    if info.oom_killed:
        return Verdict("error", reasons.OOM_KILLED, code, shown_bytes(memory))
    return Verdict("error", reasons.EXIT_CODE, code, info.error)


def shown_bytes(size: int) -> str:
    """A size for people: 512 MiB, 1.5 GiB."""
    value, unit = float(size), "bytes"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if value < 1024:
            break
        value, unit = value / 1024, larger
    return f"{value:.1f}".removesuffix(".0") + f" {unit}"
