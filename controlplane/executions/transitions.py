"""What messages of a worker do to an execution. Fenced: an attempt that is not the newest changes only its own row.

Every method works in the caller's transaction, and may be called twice with the same message.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from controlplane.executions import checks
from controlplane.executions.arguments import arguments_of, worker_name
from controlplane.executions.events import EventBook, log_key, output_key
from controlplane.executions.models import FINAL, Attempt, Execution
from controlplane.reasons import REASONS, is_retried, sentence
from worker_bootstrap.protocol.errors import ProtocolError
from worker_bootstrap.protocol.messages import Accepted, End, Event

__all__ = ["LEGAL", "IllegalTransitionError", "Transitions", "log_key", "output_key"]

LEGAL: dict[str, frozenset[str]] = {
    "created": frozenset({"queued", "stopped", "error"}),
    "queued": frozenset({"started", "stopping", "stopped", "error", "crashed"}),
    "started": frozenset({"queued", "stopping", "complete", "error", "stopped", "crashed"}),
    "stopping": frozenset({"complete", "error", "stopped", "crashed"}),
    **{state: frozenset() for state in FINAL},
}
OUTCOMES = frozenset({"complete", "error", "stopped", "failed", "refused", "lost", "unknown"})
MAX_DETAIL = 2_000


class IllegalTransitionError(RuntimeError):
    """A defect: this state does not lead to that one."""


class Transitions:
    """Applies messages within the caller's transaction."""

    def __init__(self, session: Session, now: datetime, max_attempts: int) -> None:
        self._session = session
        self._now = now
        self._max_attempts = max_attempts
        self._book = EventBook(session, now)
        self._locked: dict[str, Execution] = {}

    def move(
        self,
        execution: Execution,
        state: str,
        reason: str,
        args: dict[str, Any],
        attempt: Attempt | None = None,
        actor: str = "system",
    ) -> None:
        """To `state`, with its reason, and an event of it. Raises IllegalTransitionError."""
        if state not in LEGAL[execution.state]:
            raise IllegalTransitionError(f"{execution.state} -> {state}")
        execution.state, execution.reason, execution.reason_args = state, reason, args
        if state == "started" and execution.started_at is None:
            execution.started_at = self._now
        if state in FINAL:
            execution.ended_at = self._now
        self._book.note(execution, attempt, "state", state, reason=reason, payload=args, actor=actor)

    def lock(self, execution_id: str) -> Execution | None:
        """The row as it is now, held until the transaction ends: a stop and a grant can't both act on the old state."""
        if execution_id in self._locked:
            return self._locked[execution_id]
        self._session.flush()
        row = self._session.get(Execution, execution_id, with_for_update=True, populate_existing=True)
        if row is not None:
            self._locked[execution_id] = row
        return row

    def forget_locks(self) -> None:
        """A part of the transaction was rolled back, and the locks taken in it are gone with it."""
        self._locked.clear()

    def on_accepted(self, attempt: Attempt, body: Accepted) -> None:
        """The worker took the job, or refused it."""
        execution = self._current(attempt)
        if attempt.state != "granted":
            return
        attempt.state, attempt.accepted_at = "accepted", self._now
        if body.refused:
            self._refused(attempt, body)
        elif execution is not None and execution.state == "queued":
            self.move(execution, "started", "phase_code", {"worker": worker_name(self._session, attempt)}, attempt)

    def on_event(self, attempt: Attempt, body: Event) -> None:
        """Something happened. Raises ProtocolError for data that does not fit its kind."""
        execution = self._current(attempt)
        alive = attempt.state != "ended" or self.revive(attempt)
        current = execution if alive and execution is not None and execution.state not in FINAL else None
        self._book.apply(attempt, current, body.kind, body.data)

    def on_end(self, attempt: Attempt, body: End) -> None:
        """The attempt is over: the execution ends, or is queued again when the infrastructure failed."""
        if body.outcome not in OUTCOMES:
            raise ProtocolError(f"outcome: {body.outcome[:40]!r} is none")
        execution = self._current(attempt)
        if attempt.state == "ended" and not self.revive(attempt):
            if attempt.outcome == "lost" and body.outcome not in ("lost", "unknown"):
                # Too late for the execution, but the attempt's own log is whole now.
                attempt.log_lines, attempt.log_complete = checks.whole(body.lines), True
            return
        reason, detail = _known(body)
        outcome = body.outcome
        if outcome == "stopped" and execution is not None and not _asked_to_stop(execution, attempt):
            outcome = "failed"
            reason = reason if REASONS[reason].blame == "infrastructure" else "worker_left"
        attempt.state, attempt.ended_at = "ended", self._now
        attempt.outcome, attempt.reason, attempt.detail = outcome, reason, detail
        attempt.exit_code = None if body.exit_code is None else checks.whole(body.exit_code, -(2**31), 2**31 - 1)
        attempt.log_lines = checks.whole(body.lines)
        attempt.log_complete = outcome not in ("lost", "unknown")
        if execution is not None and execution.state not in FINAL:
            self._finish(execution, attempt, outcome, reason)

    def on_lost(self, attempt: Attempt, worker_name: str, reason: str = "worker_lost") -> None:
        """The machine is gone: as a failure of the infrastructure."""
        if attempt.state != "ended":
            self.on_end(attempt, End("lost", reason, "", detail=worker_name, lines=attempt.log_lines))

    def revive(self, attempt: Attempt) -> bool:
        """A machine that was given up is heard of again: it keeps its attempt if no newer one was granted."""
        if attempt.outcome != "lost" or attempt.reason != "worker_lost":
            return False
        execution = self._current(attempt)
        if execution is None or execution.state != "queued":
            return False
        attempt.state = "running" if attempt.running_at else "accepted" if attempt.accepted_at else "granted"
        attempt.outcome, attempt.reason, attempt.detail, attempt.ended_at = "", "", "", None
        arguments = {"worker": worker_name(self._session, attempt)}
        if attempt.state == "granted":
            execution.reason, execution.reason_args = "granted", arguments
        else:
            self.move(execution, "started", "worker_back", arguments, attempt)
        return True

    def give_up(self, execution: Execution, detail: str) -> None:
        """No job can be made of a waiting execution: it ends and says so, instead of waiting for ever."""
        if execution.state not in FINAL:
            self.move(execution, "error", "job_impossible", {"detail": checks.text(detail, 500)})

    def _refused(self, attempt: Attempt, body: Accepted) -> None:
        known = body.refused in REASONS and REASONS[body.refused].stage == "ended"
        reason = body.refused if known else "refused_by_worker"
        detail = body.detail if known else f"{body.refused} {body.detail}".strip()
        self.on_end(attempt, End("refused", reason, "", detail=detail))

    def _finish(self, execution: Execution, attempt: Attempt, outcome: str, reason: str) -> None:
        execution.exit_code = attempt.exit_code
        args = arguments_of(self._session, execution, attempt)
        if outcome in ("complete", "error", "stopped"):
            if execution.state == "queued":
                self.move(execution, "started", "phase_running", {}, attempt)
            self.move(execution, outcome, reason, args, attempt)
        elif execution.state == "stopping":
            self.move(execution, "stopped", "stopped_by_user", args, attempt)
        elif not is_retried(reason):
            self.move(execution, "error", reason, args, attempt)
        else:
            self._retry(execution, attempt, sentence(reason, args))

    def _retry(self, execution: Execution, attempt: Attempt, why: str) -> None:
        args = {"number": attempt.number, "why": why}
        if attempt.number >= self._max_attempts:
            self.move(execution, "crashed", "attempts_exhausted", args, attempt)
            return
        # What the failed attempt told belongs to it alone; the next one begins with nothing.
        execution.cumulative_metadata, execution.status_detail, execution.exit_code = {}, None, None
        if execution.state == "queued":
            execution.reason, execution.reason_args = "retrying", args
            self._book.note(execution, attempt, "attempt", why, reason="retrying", payload=args)
        else:
            self.move(execution, "queued", "retrying", args, attempt)

    def _current(self, attempt: Attempt) -> Execution | None:
        """The attempt's execution, locked, if no newer attempt was granted."""
        execution = self.lock(attempt.execution_id)
        return execution if execution is not None and execution.attempt_number == attempt.number else None


def _asked_to_stop(execution: Execution, attempt: Attempt) -> bool:
    return execution.state == "stopping" or bool(attempt.stop_reason)


def _known(body: End) -> tuple[str, str]:
    """The reason as the registry knows it, and the detail; a newer agent's code stands in the detail."""
    detail = checks.text(body.detail, MAX_DETAIL)
    if body.reason in REASONS:
        return body.reason, detail
    if body.outcome == "complete":
        return "done", detail
    return "agent_error", checks.text(f"{body.reason}: {detail}", MAX_DETAIL)
