"""What an attempt tells about itself, written down: phases, log segments, metadata, outputs, utilisation."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from controlplane.data.aliases import point
from controlplane.data.models import Datum, DatumAlias
from controlplane.data.stores.base import StoreError
from controlplane.data.stores.keys import check_key
from controlplane.environments.models import Store, Worker
from controlplane.executions import checks
from controlplane.executions.models import Attempt, Execution, ExecutionEvent, MetadataPoint, UsageSample
from controlplane.limits import LIMITS, METADATA_KEYS, OUTPUTS, POINTS, Limit
from controlplane.limits import sentence as sentence_of
from controlplane.logs.models import LogSegment
from controlplane.reasons import sentence
from controlplane.stores.access import output_store
from controlplane.stores.uris import root_of
from worker_bootstrap.protocol.errors import ProtocolError

PHASES = frozenset({"code", "image", "inputs", "running", "uploading"})
STREAMS = ("stdout", "stderr", "status")
MAX_CUMULATIVE = METADATA_KEYS.most
MAX_CUMULATIVE_VALUE = 2_000
MAX_MESSAGE = 2_000
MAX_POINTS = 2_000
MAX_POINT_BYTES = 200_000
MAX_SAMPLES = 1_000
MAX_SAMPLE_BYTES = 4_000
MAX_METADATA_BYTES = 256_000
MAX_SEGMENT_BYTES = 64 << 20
MAX_NAME = 512
MAX_TAGS = 100
MAX_ALIASES = 20

Handler = Callable[[Attempt, dict[str, Any]], None]
CurrentHandler = Callable[[Execution, Attempt, dict[str, Any]], None]


class EventBook:
    """Writes within the caller's transaction. Every method raises ProtocolError for data that does not fit."""

    def __init__(self, session: Session, now: datetime) -> None:
        self._session = session
        self._now = now
        self._own: dict[str, Handler] = {"segment": self._segment, "container": self._container}
        self._current: dict[str, CurrentHandler] = {
            "phase": self._phase,
            "status": self._status,
            "detail": self._detail,
            "gap": self._gap,
            "metadata": self._metadata,
            "usage": self._usage,
            "output": self._output,
        }

    def apply(self, attempt: Attempt, execution: Execution | None, kind: str, data: dict[str, Any]) -> None:
        """`execution` is None unless the attempt is its current one and lives; a kind of a newer agent is passed by."""
        if kind in self._own:
            self._own[kind](attempt, data)
        elif execution is not None and kind in self._current:
            self._current[kind](execution, attempt, data)

    def note(
        self,
        execution: Execution,
        attempt: Attempt | None,
        kind: str,
        message: str,
        *,
        reason: str = "",
        payload: dict[str, Any] | None = None,
        actor: str = "system",
    ) -> None:
        """Append an event for people; `payload` holds the arguments of the reason's sentence."""
        self._session.add(
            ExecutionEvent(
                organization_id=execution.organization_id,
                execution_id=execution.id,
                attempt_id=attempt.id if attempt else None,
                at=self._now,
                kind=kind,
                actor=actor,
                reason=reason,
                message=message,
                payload=payload or {},
            )
        )

    def _phase(self, execution: Execution, attempt: Attempt, data: dict[str, Any]) -> None:
        phase = checks.text(data.get("phase"), 16)
        if phase not in PHASES:
            return
        detail = checks.text(data.get("detail") or "", 500)
        repeated, attempt.phase = attempt.phase == phase, phase
        if phase == "running" and attempt.running_at is None:
            attempt.running_at, attempt.state = self._now, "running"
        arguments = {"image": execution.image, "phase": phase, "detail": detail}
        if execution.state == "started":
            execution.reason, execution.reason_args = f"phase_{phase}", arguments
        if not repeated:
            # Progress within a phase changes what is shown now; the history keeps the phase once.
            self.note(execution, attempt, "phase", phase, reason=f"phase_{phase}", payload=arguments)

    def _status(self, execution: Execution, attempt: Attempt, data: dict[str, Any]) -> None:
        self.note(execution, attempt, "status", checks.text(data.get("message"), MAX_MESSAGE))

    def _detail(self, execution: Execution, attempt: Attempt, data: dict[str, Any]) -> None:
        execution.status_detail = checks.text(data.get("status_detail"), MAX_MESSAGE) or None

    def _gap(self, execution: Execution, attempt: Attempt, data: dict[str, Any]) -> None:
        payload = {name: checks.whole(data.get(name, 0)) for name in ("first", "last")}
        why = checks.text(data.get("reason") or "", 200)
        message = f"Log lines may be missing here{f': {why}' if why else '.'}"
        self.note(execution, attempt, "gap", message, reason="log_gap", payload=payload)

    def _metadata(self, execution: Execution, attempt: Attempt, data: dict[str, Any]) -> None:
        self._sampled(execution, attempt, data)
        merged = dict(execution.cumulative_metadata)
        for entry in checks.rows(data.get("points"), MAX_POINTS):
            moment, raw = checks.pair(entry)
            values = checks.table(raw, MAX_POINT_BYTES)
            _merge(merged, values)
            if execution.metadata_points >= POINTS.most:
                self._full(execution, attempt, POINTS)
                continue
            execution.metadata_points += 1
            self._session.add(
                MetadataPoint(
                    organization_id=attempt.organization_id,
                    execution_id=attempt.execution_id,
                    attempt_id=attempt.id,
                    at=checks.moment(moment),
                    data=values,
                )
            )
        execution.cumulative_metadata = merged

    def _full(self, execution: Execution, attempt: Attempt, limit: Limit) -> None:
        """What is above the cap is left out; that is said once an attempt."""
        message = f"{sentence_of(limit, limit.most)}; what is above is left out."
        said = select(ExecutionEvent.id).where(
            ExecutionEvent.execution_id == execution.id, ExecutionEvent.message == message
        )
        if self._session.scalar(said.limit(1)) is None:
            self.note(execution, attempt, "status", message)

    def _sampled(self, execution: Execution, attempt: Attempt, data: dict[str, Any]) -> None:
        """That points were left out is said once an attempt."""
        if not checks.whole(data.get("sampled", 0)):
            return
        code = "metadata_sampled"
        said = select(ExecutionEvent.id).where(ExecutionEvent.attempt_id == attempt.id, ExecutionEvent.reason == code)
        if self._session.scalar(said.limit(1)) is None:
            self.note(execution, attempt, "metadata", sentence(code), reason=code)

    def _usage(self, execution: Execution, attempt: Attempt, data: dict[str, Any]) -> None:
        for entry in checks.rows(data.get("samples"), MAX_SAMPLES):
            moment, sample = checks.pair(entry)
            self._session.add(
                UsageSample(
                    organization_id=attempt.organization_id,
                    attempt_id=attempt.id,
                    at=checks.moment(moment),
                    data=checks.table(sample, MAX_SAMPLE_BYTES),
                )
            )

    def _container(self, attempt: Attempt, data: dict[str, Any]) -> None:
        attempt.container_id = checks.text(data.get("id"), 64)
        attempt.image_digest = checks.text(data.get("image_digest") or "", 128)

    def _segment(self, attempt: Attempt, data: dict[str, Any]) -> None:
        first = checks.whole(data.get("first"), 1)
        last = checks.whole(data.get("last"), first)
        if checks.whole(data.get("lines")) != last - first + 1:
            raise ProtocolError("lines: not as many as from first to last")
        known = select(LogSegment.id).where(LogSegment.attempt_id == attempt.id, LogSegment.first == first)
        if self._session.scalar(known):
            return
        counts = data.get("counts") or {}
        self._session.add(
            LogSegment(
                organization_id=attempt.organization_id,
                attempt_id=attempt.id,
                first=first,
                last=last,
                lines=last - first + 1,
                size=checks.whole(data.get("size"), 0, MAX_SEGMENT_BYTES),
                raw_bytes=checks.whole(data.get("raw_bytes"), 0, MAX_SEGMENT_BYTES),
                sha256=checks.digest(data.get("sha256"), 64),
                key=log_key(attempt, self._session, f"{first:020d}.gz"),
                counts={stream: checks.whole(counts.get(stream, 0)) for stream in STREAMS},
                first_time=checks.text(data.get("first_time") or "", 32),
                last_time=checks.text(data.get("last_time") or "", 32),
                created_at=self._now,
            )
        )

    def _output(self, execution: Execution, attempt: Attempt, data: dict[str, Any]) -> None:
        """A stored file becomes a datum."""
        name = data.get("name")
        if not isinstance(name, str) or len(name) > MAX_NAME:
            raise ProtocolError(f"name: a text of at most {MAX_NAME} characters is expected")
        try:
            key = output_key(execution, attempt.number, check_key(name))
        except StoreError as error:
            raise ProtocolError(f"name: {error}") from error
        store = self._data_store(execution, attempt)
        metadata = self._sidecar(execution, attempt, name, data.get("metadata") or {})
        known = self._session.scalar(select(Datum).where(Datum.store_id == store.id, Datum.key == key))
        if known is not None:
            self._describe(execution, known, metadata)
            return
        of = (Datum.output_execution_id == execution.id, Datum.output_attempt_id == attempt.id)
        if (self._session.scalar(select(func.count()).select_from(Datum).where(*of)) or 0) >= OUTPUTS.most:
            self._full(execution, attempt, OUTPUTS)
            return
        datum = Datum(
            organization_id=execution.organization_id,
            project_id=execution.project_id,
            store_id=store.id,
            output_execution_id=execution.id,
            output_attempt_id=attempt.id,
            name=name,
            key=key,
            uri=f"{root_of(store.kind, store.config, store.id)}{key}",
            size=checks.whole(data.get("size")),
            md5=checks.digest(data.get("md5"), 32),
            sha1=checks.digest(data.get("sha1"), 40),
            sha256=checks.digest(data.get("sha256"), 64),
            created_at=self._now,
        )
        self._session.add(datum)
        self._describe(execution, datum, metadata)

    def _describe(self, execution: Execution, datum: Datum, metadata: dict[str, Any]) -> None:
        """Metadata may come after the file: it was stored while the command ran."""
        if not metadata or metadata == datum.user_metadata:
            return
        datum.user_metadata = metadata
        datum.tags = checks.texts(metadata.get("valohai.tags"), MAX_TAGS, 255)
        self._session.flush()
        for alias in checks.texts(metadata.get("valohai.alias"), MAX_ALIASES, 128):
            self._point_alias(execution, alias, datum)

    def _sidecar(self, execution: Execution, attempt: Attempt, name: str, data: Any) -> dict[str, Any]:
        """The file's metadata; too much of it is left out, and said."""
        try:
            return checks.table(data, MAX_METADATA_BYTES)
        except ProtocolError as error:
            self.note(execution, attempt, "status", f"The metadata of {name[:200]!r} was left out: {error}.")
            return {}

    def _data_store(self, execution: Execution, attempt: Attempt) -> Store:
        try:
            return output_store(self._session, execution, self._session.get_one(Worker, attempt.worker_id))
        except StoreError as error:
            raise ProtocolError(str(error)) from error

    def _point_alias(self, execution: Execution, name: str, datum: Datum) -> None:
        of = DatumAlias.project_id == execution.project_id
        known = self._session.scalar(select(DatumAlias.id).where(of, DatumAlias.name == name))
        if known is None:
            count = self._session.scalar(select(func.count()).select_from(DatumAlias).where(of)) or 0
            most = LIMITS["aliases"].most
            if count >= most:
                self.note(execution, None, "status", f"The alias {name!r} was not made: the project has {most}.")
                return
        point(self._session, datum, name, f"execution:{execution.id}", self._now)


def output_key(execution: Execution, number: int, name: str) -> str:
    """Key of an output: `project/execution/attempt/name`."""
    return f"{execution.project_id}/{execution.id}/{number}/{name}"


def log_key(attempt: Attempt, session: Session, name: str) -> str:
    """Key of a log object: `logs/project/execution/attempt/name`."""
    execution = session.get_one(Execution, attempt.execution_id)
    return f"logs/{execution.project_id}/{execution.id}/{attempt.number}/{name}"


def _merge(merged: dict[str, Any], values: dict[str, Any]) -> None:
    """The newest value of each name; long texts are cut, large structures left out."""
    for name, value in values.items():
        if len(merged) >= MAX_CUMULATIVE and name not in merged:
            continue
        if isinstance(value, str):
            merged[name] = value[:MAX_CUMULATIVE_VALUE]
        elif not isinstance(value, (list, dict)) or len(json.dumps(value)) <= MAX_CUMULATIVE_VALUE:
            merged[name] = value
