"""What the pages of executions show: rows and sections, made from the database's rows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from controlplane.accounts.models import User
from controlplane.environments.models import Worker, WorkerGroup
from controlplane.executions.models import FINAL, INCOMPLETE, Attempt, Execution, ExecutionEvent, UsageSample
from controlplane.pages.format import size, span
from controlplane.reasons import REASONS, next_step, sentence

SHORT_NOTE = 60
BANNERS = {"error": "bad", "crashed": "infra"}


@dataclass(frozen=True)
class Duration:
    """`since` set: it goes on."""

    seconds: float
    since: datetime | None = None


@dataclass(frozen=True)
class Row:
    """A line of the list."""

    id: str
    counter: int
    step: str
    title: str
    tags: list[str]
    state: str
    note: str
    environment: str
    creator: str
    duration: Duration | None
    created_at: datetime


@dataclass(frozen=True)
class Why:
    """The sentence beside the state, what to do about it, and how loudly to say so."""

    sentence: str
    next_step: str
    code: str = ""
    banner: str = ""


@dataclass(frozen=True)
class EventLine:
    """Something that happened, for people; `kind` is the state whose shape and colour it has."""

    at: datetime
    kind: str
    text: str
    by: str


@dataclass(frozen=True)
class Machine:
    """Where the newest attempt runs or ran; `usage` is (name, text, share 0..1 or None)."""

    name: str
    state: str
    usage: list[tuple[str, str, float | None]] = field(default_factory=list)
    sampled_at: datetime | None = None


def duration(execution: Execution, now: datetime) -> Duration | None:
    """From the start to the end or now; None before the start."""
    if execution.started_at is None:
        return None
    if execution.ended_at is not None:
        return Duration((execution.ended_at - execution.started_at).total_seconds())
    return Duration((now - execution.started_at).total_seconds(), execution.started_at)


def rows(session: Session, executions: Sequence[Execution], now: datetime) -> list[Row]:
    """Lines of the list, with names of creators and environments."""
    creators = names_of(session, (execution.creator_id for execution in executions))
    groups = session.scalars(select(WorkerGroup).where(WorkerGroup.id.in_({e.environment_id for e in executions})))
    environments = {group.id: group.name for group in groups}
    return [
        Row(
            id=execution.id,
            counter=execution.counter,
            step=execution.step,
            title=execution.title if execution.title != execution.step else "",
            tags=execution.tags,
            state=execution.state,
            note=_note(execution),
            environment=environments.get(execution.environment_id, ""),
            creator=creators.get(execution.creator_id or "", ""),
            duration=duration(execution, now),
            created_at=execution.created_at,
        )
        for execution in executions
    ]


def names_of(session: Session, user_ids: Iterable[str | None]) -> dict[str, str]:
    """{id: name} of users."""
    wanted = {user_id for user_id in user_ids if user_id}
    return {user.id: user.username for user in session.scalars(select(User).where(User.id.in_(wanted)))}


def why(execution: Execution) -> Why:
    """The one sentence that each state has."""
    text = sentence(execution.reason, execution.reason_args)
    step = next_step(execution.reason, execution.reason_args)
    if execution.status_detail and execution.state not in FINAL:
        text = execution.status_detail[:500]
    if not text:
        text = {"started": "A machine runs it.", "stopping": "It was asked to stop."}.get(execution.state, "")
    if execution.state == "complete":
        return Why("", "")
    return Why(text, step, execution.reason, BANNERS.get(execution.state, ""))


def machine(session: Session, attempt: Attempt | None) -> Machine | None:
    """The machine of an attempt with its newest utilisation."""
    worker = session.get(Worker, attempt.worker_id) if attempt else None
    if attempt is None or worker is None:
        return None
    sample = session.scalars(
        select(UsageSample).where(UsageSample.attempt_id == attempt.id).order_by(UsageSample.at.desc()).limit(1)
    ).first()
    usage = _usage(sample.data, worker.facts) if sample else []
    return Machine(worker.name, worker.state, usage, sample.at if sample else None)


def limits(execution: Execution) -> list[tuple[str, str]]:
    """(name, text) of the limits that were set."""
    found = [("Time limit", execution.time_limit), ("No output for", execution.no_output_timeout)]
    return [(name, span(seconds)) for name, seconds in found if seconds]


def variables(execution: Execution) -> list[tuple[str, str | None]]:
    """(name, value), and None for a secret one: its value is never read here."""
    return [
        (name, None if entry.get("secret") else str(entry.get("value", "")))
        for name, entry in sorted(execution.environment_variables.items())
    ]


def event_lines(events: Sequence[ExecutionEvent], people: dict[str, str]) -> list[EventLine]:
    """Events as lines, the newest first."""
    return [
        EventLine(event.at, _event_kind(event), _event_text(event), people.get(event.actor, ""))
        for event in reversed(events)
    ]


def _event_kind(event: ExecutionEvent) -> str:
    if event.kind == "state" and event.message in (*INCOMPLETE, *FINAL):
        return event.message
    reason = REASONS.get(event.reason)
    return "crashed" if reason and reason.blame == "infrastructure" else "started"


def _event_text(event: ExecutionEvent) -> str:
    """State changes by their word and sentence, phases by theirs, the rest as it was written."""
    if event.kind == "state":
        told = sentence(event.reason, event.payload) if event.reason else ""
        return f"{event.message.capitalize()}. {told}" if told and "?" not in told else event.message.capitalize()
    phase = event.payload.get("phase")
    if event.kind == "phase" and phase:
        return str(event.payload.get("detail") or "") or sentence(f"phase_{phase}", event.payload).replace(" ?", "")
    return event.message or sentence(event.reason, event.payload) or event.kind


def _note(execution: Execution) -> str:
    """A few words behind the state in the list; nothing for what is well."""
    if execution.state in ("complete", "started"):
        return (execution.status_detail or "")[:SHORT_NOTE] if execution.state == "started" else ""
    if execution.reason == "exit_code":
        return f"exit code {execution.exit_code}"
    text = sentence(execution.reason, execution.reason_args) if execution.reason in REASONS else ""
    text = text.rstrip(".")
    return text if len(text) <= SHORT_NOTE else f"{text[: SHORT_NOTE - 1].rstrip()}…"


def _usage(data: dict[str, Any], facts: dict[str, Any]) -> list[tuple[str, str, float | None]]:
    """cpu is cores, memory and disk bytes, net_* bytes a second, gpu a share of 0..1 where there is one."""
    found: list[tuple[str, str, float | None]] = []
    cpu, cores = data.get("cpu"), facts.get("cpus")
    if isinstance(cpu, (int, float)):
        share = cpu / cores if isinstance(cores, (int, float)) and cores else None
        found.append(("CPU", f"{cpu:.2f} of {cores} cores" if share is not None else f"{cpu:.2f} cores", share))
    memory, limit = data.get("memory"), data.get("memory_limit") or facts.get("memory")
    if isinstance(memory, (int, float)):
        share = memory / limit if isinstance(limit, (int, float)) and limit else None
        found.append(("Memory", f"{size(memory)} of {size(limit)}" if share is not None else size(memory), share))
    for name, label in (("disk", "Disk"), ("net_in", "Received"), ("net_out", "Sent")):
        if isinstance(data.get(name), (int, float)):
            found.append((label, size(data[name]), None))
    gpu = data.get("gpu")
    if isinstance(gpu, (int, float)):
        found.append(("GPU", f"{gpu * 100:.0f} %", float(gpu)))
    return found
