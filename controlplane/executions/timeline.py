"""An execution's life as the phases that a page shows. Pure: rows and a moment in, phases out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from controlplane.executions.models import FINAL, Attempt, Execution, ExecutionEvent
from controlplane.pages.format import span, time_of_day

PHASES = {
    "granted": "Granted",
    "code": "Code",
    "image": "Image",
    "inputs": "Inputs",
    "running": "Command",
    "uploading": "Outputs",
}
SLOW_GRANT = 5  # seconds between grant and first word of the machine that are worth a phase of their own
TO_COME = ("image", "inputs", "running", "uploading")
OUTCOMES = {
    "lost": "machine lost",
    "failed": "infrastructure failed",
    "refused": "refused by the machine",
    "stopped": "stopped",
    "error": "error",
    "complete": "complete",
}
ENDED_BADLY = {"lost": "crashed", "failed": "crashed", "refused": "crashed", "error": "error", "stopped": "stopped"}


@dataclass(frozen=True)
class Phase:
    """A part of the life: `kind` is the state whose colour it has, or `todo`; `since` set: it goes on."""

    name: str
    text: str
    kind: str
    since: datetime | None = None


def timeline(
    execution: Execution, attempts: Sequence[Attempt], events: Sequence[ExecutionEvent], creator: str, now: datetime
) -> list[Phase]:
    """Created, queued, each earlier attempt as one phase, the newest one in its parts, and what is still to come."""
    by = f" by {creator}" if creator else ""
    phases = [Phase("Created", f"{time_of_day(execution.created_at)}{by}", "complete")]
    waits_from, name = execution.queued_at or execution.created_at, "Queued"
    for attempt in attempts:
        phases.append(_waiting(name, waits_from, attempt.granted_at, execution, now))
        if attempt is not attempts[-1] or _is_over_early(execution, attempt):
            phases.append(_whole(attempt, now))
        else:
            phases.extend(_parts(execution, attempt, events, now))
        waits_from, name = attempt.ended_at or now, "Queued again"
    if not attempts or _is_over_early(execution, attempts[-1]):
        phases.append(_waiting(name, waits_from, execution.ended_at, execution, now))
        if execution.state not in FINAL:
            phases.extend(Phase(PHASES[phase], "to come", "todo") for phase in TO_COME)
    return phases


def _is_over_early(execution: Execution, attempt: Attempt) -> bool:
    """The newest attempt has ended, yet the execution goes on: it waits for another one."""
    return attempt.ended_at is not None and execution.state not in FINAL and attempt.outcome in ENDED_BADLY


def _waiting(name: str, start: datetime, end: datetime | None, execution: Execution, now: datetime) -> Phase:
    if end is None:
        return Phase(name, f"{span((now - start).total_seconds())} so far", f"{execution.state} now", start)
    stopped = end == execution.ended_at and execution.state == "stopped"
    return Phase(name, span((end - start).total_seconds()), "stopped" if stopped else "complete")


def _whole(attempt: Attempt, now: datetime) -> Phase:
    took = span(((attempt.ended_at or now) - attempt.granted_at).total_seconds())
    outcome = OUTCOMES.get(attempt.outcome, attempt.outcome or "ended")
    return Phase(f"Attempt {attempt.number}", f"{took}, {outcome}", ENDED_BADLY.get(attempt.outcome, "complete"))


def _parts(execution: Execution, attempt: Attempt, events: Sequence[ExecutionEvent], now: datetime) -> list[Phase]:
    starts = _starts(attempt, events)
    end = attempt.ended_at or execution.ended_at
    phases: list[Phase] = []
    for position, (phase, start) in enumerate(starts):
        until = starts[position + 1][1] if position + 1 < len(starts) else end
        name = PHASES.get(phase, phase.capitalize())
        if until is None:
            kind = "stopping" if execution.state == "stopping" else "started"
            phases.append(Phase(name, f"{span((now - start).total_seconds())} so far", f"{kind} now", start))
        else:
            is_last = position + 1 == len(starts)
            kind = execution.state if is_last and execution.state in FINAL else "complete"
            phases.append(Phase(name, span((until - start).total_seconds()), kind))
    if end is None:
        seen = {phase for phase, _ in starts}
        last = max((TO_COME.index(phase) for phase in seen if phase in TO_COME), default=-1)
        phases.extend(Phase(PHASES[phase], "to come", "todo") for phase in TO_COME[last + 1 :])
    return phases


def _starts(attempt: Attempt, events: Sequence[ExecutionEvent]) -> list[tuple[str, datetime]]:
    """(phase, its start) in order; without any event from the worker the grant itself is the first phase."""
    starts: list[tuple[str, datetime]] = []
    for event in events:
        phase = str(event.payload.get("phase", ""))
        if event.kind != "phase" or event.attempt_id != attempt.id or phase not in PHASES or phase == "granted":
            continue
        if not starts or starts[-1][0] != phase:
            starts.append((phase, event.at))
    if starts and (starts[0][1] - attempt.granted_at).total_seconds() > SLOW_GRANT:
        starts.insert(0, ("granted", attempt.granted_at))
    if starts:
        return [(starts[0][0], attempt.granted_at), *starts[1:]]
    if attempt.running_at is None:
        return [("granted", attempt.granted_at)]
    return [("granted", attempt.granted_at), ("running", attempt.running_at)]
