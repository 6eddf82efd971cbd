"""What messages of a worker do to an execution. Fenced: an attempt that is not the newest changes only its own row."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from controlplane.data.models import Datum, DatumAlias
from controlplane.environments.models import Store, Worker
from controlplane.executions.models import FINAL, Attempt, Execution, ExecutionEvent, MetadataPoint, UsageSample
from controlplane.logs.models import LogSegment
from controlplane.reasons import sentence
from worker_bootstrap.protocol.errors import ProtocolError
from worker_bootstrap.protocol.messages import Accepted, End, Event

LEGAL: dict[str, frozenset[str]] = {
    "created": frozenset({"queued", "stopped", "error"}),
    "queued": frozenset({"started", "stopping", "stopped", "error", "crashed"}),
    "started": frozenset({"queued", "stopping", "complete", "error", "stopped", "crashed"}),
    "stopping": frozenset({"complete", "error", "stopped", "crashed"}),
    **{state: frozenset() for state in FINAL},
}
PHASES = frozenset({"code", "image", "inputs", "running", "uploading"})
MAX_CUMULATIVE = 500
MAX_METADATA_TEXT = 2_000


class IllegalTransitionError(RuntimeError):
    """A defect: this state does not lead to that one."""


class Transitions:
    """Applies messages within the caller's transaction."""

    def __init__(self, session: Session, now: datetime, max_attempts: int) -> None:
        self._session = session
        self._now = now
        self._max_attempts = max_attempts

    def move(
        self, execution: Execution, state: str, reason: str, args: dict[str, Any], attempt: Attempt | None = None
    ) -> None:
        """To `state`, with its reason, and an event of it. Raises IllegalTransitionError."""
        if state not in LEGAL[execution.state]:
            raise IllegalTransitionError(f"{execution.state} -> {state}")
        execution.state, execution.reason, execution.reason_args = state, reason, args
        if state == "started" and execution.started_at is None:
            execution.started_at = self._now
        if state in FINAL:
            execution.ended_at = self._now
        self.note(execution, attempt, "state", state, reason)

    def note(self, execution: Execution, attempt: Attempt | None, kind: str, message: str, reason: str = "") -> None:
        """Append an event."""
        self._session.add(
            ExecutionEvent(
                organization_id=execution.organization_id,
                execution_id=execution.id,
                attempt_id=attempt.id if attempt else None,
                at=self._now,
                kind=kind,
                reason=reason,
                message=message,
            )
        )

    def on_accepted(self, attempt: Attempt, body: Accepted) -> None:
        """The worker took the job, or refused it."""
        if attempt.state != "granted":
            return
        attempt.state, attempt.accepted_at = "accepted", self._now
        execution = self._current(attempt)
        if body.refused:
            self.on_end(attempt, End("failed", "refused", "", detail=f"{body.refused} {body.detail}".strip()))
        elif execution is not None and execution.state == "queued":
            self.move(execution, "started", "phase_code", {}, attempt)

    def on_event(self, attempt: Attempt, body: Event) -> None:
        """Something happened. Raises ProtocolError for data that does not fit its kind."""
        handler = getattr(self, f"_event_{body.kind}", None)
        if handler is None:
            return
        try:
            handler(attempt, body.data, body)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ProtocolError(f"event {body.kind}: {error!r}") from error

    def on_end(self, attempt: Attempt, body: End) -> None:
        """The attempt is over: the execution ends, or is queued again when the infrastructure failed."""
        if attempt.state == "ended":
            return
        attempt.state, attempt.ended_at = "ended", self._now
        attempt.outcome, attempt.reason, attempt.exit_code = body.outcome, body.reason, body.exit_code
        attempt.detail, attempt.log_lines = body.detail[:2000], body.lines
        attempt.log_complete = body.outcome not in ("lost", "unknown")
        execution = self._current(attempt)
        if execution is None or execution.state in FINAL:
            return
        execution.exit_code = body.exit_code
        args = self._arguments(execution, body, attempt)
        if body.outcome in ("complete", "error", "stopped"):
            if execution.state == "queued":
                self.move(execution, "started", "phase_running", {}, attempt)
            self.move(execution, body.outcome, body.reason, args, attempt)
            return
        self._failed(execution, attempt, body.reason, args)

    def on_lost(self, attempt: Attempt, worker_name: str, reason: str = "worker_lost") -> None:
        """The machine is gone: as a failure of the infrastructure."""
        self.on_end(attempt, End("lost", reason, "", detail=worker_name))

    def _failed(self, execution: Execution, attempt: Attempt, reason: str, args: dict[str, Any]) -> None:
        why = sentence(reason, args)
        if execution.state == "stopping":
            self.move(execution, "stopped", "stopped_by_user", {"by": args.get("by", "")}, attempt)
        elif attempt.number >= self._max_attempts:
            self.move(execution, "crashed", "attempts_exhausted", {"number": attempt.number, "why": why}, attempt)
        elif execution.state == "queued":
            execution.reason, execution.reason_args = "retrying", {"number": attempt.number, "why": why}
            self.note(execution, attempt, "attempt", why, reason)
        else:
            self.move(execution, "queued", "retrying", {"number": attempt.number, "why": why}, attempt)

    def _arguments(self, execution: Execution, body: End, attempt: Attempt) -> dict[str, Any]:
        worker = self._session.get(Worker, attempt.worker_id)
        return {
            "exit_code": body.exit_code,
            "detail": body.detail[:500],
            "worker": worker.name if worker else "?",
            "time_limit": execution.time_limit,
            "no_output_timeout": execution.no_output_timeout,
            "by": execution.reason_args.get("by", "the system"),
        }

    def _current(self, attempt: Attempt) -> Execution | None:
        execution = self._session.get(Execution, attempt.execution_id)
        return execution if execution is not None and execution.attempt_number == attempt.number else None

    def _event_phase(self, attempt: Attempt, data: dict[str, Any], body: Event) -> None:
        phase = data["phase"]
        if phase not in PHASES or attempt.state == "ended":
            return
        attempt.phase = phase
        if phase == "running" and attempt.running_at is None:
            attempt.running_at, attempt.state = self._now, "running"
        execution = self._current(attempt)
        if execution is not None and execution.state == "started":
            execution.reason, execution.reason_args = f"phase_{phase}", {"image": execution.image}
        if execution is not None:
            self.note(execution, attempt, "phase", phase, f"phase_{phase}")

    def _event_status(self, attempt: Attempt, data: dict[str, Any], body: Event) -> None:
        execution = self._current(attempt)
        if execution is not None:
            self.note(execution, attempt, "status", str(data["message"])[:2000])

    def _event_detail(self, attempt: Attempt, data: dict[str, Any], body: Event) -> None:
        execution = self._current(attempt)
        if execution is not None:
            execution.status_detail = str(data["status_detail"])[:2000]

    def _event_container(self, attempt: Attempt, data: dict[str, Any], body: Event) -> None:
        attempt.container_id, attempt.image_digest = str(data["id"])[:64], str(data.get("image_digest", ""))[:128]

    def _event_gap(self, attempt: Attempt, data: dict[str, Any], body: Event) -> None:
        execution = self._current(attempt)
        if execution is not None:
            self.note(execution, attempt, "gap", f"Log lines may be missing here: {str(data.get('reason', ''))[:200]}")

    def _event_metadata(self, attempt: Attempt, data: dict[str, Any], body: Event) -> None:
        execution = self._current(attempt)
        merged = dict(execution.cumulative_metadata) if execution else {}
        for moment, point in data["points"]:
            self._session.add(
                MetadataPoint(
                    organization_id=attempt.organization_id,
                    execution_id=attempt.execution_id,
                    attempt_id=attempt.id,
                    at=_moment(moment),
                    data=dict(point),
                )
            )
            for name, value in point.items():
                if len(merged) < MAX_CUMULATIVE or name in merged:
                    merged[name] = value[:MAX_METADATA_TEXT] if isinstance(value, str) else value
        if execution is not None:
            execution.cumulative_metadata = merged

    def _event_usage(self, attempt: Attempt, data: dict[str, Any], body: Event) -> None:
        for moment, sample in data["samples"]:
            self._session.add(
                UsageSample(
                    organization_id=attempt.organization_id,
                    attempt_id=attempt.id,
                    at=_moment(moment),
                    data=dict(sample),
                )
            )

    def _event_segment(self, attempt: Attempt, data: dict[str, Any], body: Event) -> None:
        first = int(data["first"])
        known = select(LogSegment.id).where(LogSegment.attempt_id == attempt.id, LogSegment.first == first)
        if self._session.scalar(known):
            return
        name = f"{first:020d}.gz"
        self._session.add(
            LogSegment(
                organization_id=attempt.organization_id,
                attempt_id=attempt.id,
                first=first,
                last=int(data["last"]),
                lines=int(data["lines"]),
                size=int(data["size"]),
                raw_bytes=int(data["raw_bytes"]),
                sha256=str(data["sha256"])[:64],
                key=log_key(attempt, self._session, name),
                counts=dict(data["counts"]),
                first_time=str(data["first_time"])[:32],
                last_time=str(data["last_time"])[:32],
                created_at=self._now,
            )
        )

    def _event_output(self, attempt: Attempt, data: dict[str, Any], body: Event) -> None:
        """A stored file becomes a datum; only of the newest attempt."""
        execution = self._current(attempt)
        if execution is None:
            return
        worker = self._session.get(Worker, attempt.worker_id)
        store = self._session.scalars(
            select(Store)
            .where(Store.installation_id == worker.installation_id, Store.purpose == "data")  # type: ignore[union-attr]
            .order_by(Store.created_at, Store.id)
            .limit(1)
        ).one()
        name = str(data["name"])
        key = output_key(execution, attempt.number, name)
        if self._session.scalar(select(Datum.id).where(Datum.store_id == store.id, Datum.key == key)):
            return
        metadata = dict(data.get("metadata") or {})
        tags = metadata.get("valohai.tags") or []
        datum = Datum(
            organization_id=execution.organization_id,
            project_id=execution.project_id,
            store_id=store.id,
            output_execution_id=execution.id,
            output_attempt_id=attempt.id,
            name=name,
            key=key,
            uri=f"{store.kind}://{store.id}/{key}",
            size=int(data["size"]),
            md5=str(data["md5"])[:32],
            sha1=str(data["sha1"])[:40],
            sha256=str(data["sha256"])[:64],
            tags=[str(tag)[:255] for tag in tags][:100],
            user_metadata=metadata,
            created_at=self._now,
        )
        self._session.add(datum)
        self._session.flush()
        alias = metadata.get("valohai.alias")
        for alias_name in alias if isinstance(alias, list) else [alias] if alias else []:
            self._point_alias(execution, str(alias_name)[:128], datum)

    def _point_alias(self, execution: Execution, name: str, datum: Datum) -> None:
        row = self._session.scalar(
            select(DatumAlias).where(DatumAlias.project_id == execution.project_id, DatumAlias.name == name)
        )
        if row is None:
            row = DatumAlias(organization_id=execution.organization_id, project_id=execution.project_id, name=name)
            self._session.add(row)
        row.datum_id, row.changed_at = datum.id, self._now


def output_key(execution: Execution, number: int, name: str) -> str:
    """Key of an output: `project/execution/attempt/name`."""
    return f"{execution.project_id}/{execution.id}/{number}/{name}"


def log_key(attempt: Attempt, session: Session, name: str) -> str:
    """Key of a log object: `logs/project/execution/attempt/name`."""
    execution = session.get_one(Execution, attempt.execution_id)
    return f"logs/{execution.project_id}/{execution.id}/{attempt.number}/{name}"


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
