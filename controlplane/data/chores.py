"""Chores of data: uploads that nobody completes, and what people want kept for a time only."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import structlog
from pydantic import BaseModel, ConfigDict
from sqlalchemy import ColumnElement, Select, func, select

from controlplane.audit.service import AuditService
from controlplane.chores.errors import ChoreFailedError
from controlplane.chores.kinds import Kind, Removal
from controlplane.chores.removing import Rule, remove
from controlplane.chores.run import Run
from controlplane.clock import utc_now
from controlplane.data.completing import ChecksumError, finish, put_together
from controlplane.data.models import Datum, DatumAlias, Upload
from controlplane.data.parts import marks_of, remove_parts
from controlplane.data.service import DataService
from controlplane.data.stores.base import ObjectStore, StoreError
from controlplane.data.stores.opening import StoreOpener
from controlplane.data.stores.registry import StoreRegistry
from controlplane.dispatch.leases import database_now
from controlplane.environments.models import Worker
from controlplane.executions.models import Attempt, Execution, MetadataPoint, UsageSample
from controlplane.limits import Limits
from controlplane.logs.models import LogSegment
from controlplane.permissions import Actor
from controlplane.settings import Settings

log = structlog.get_logger()
STEP = 50
Removed = dict[str, int]


class OfUpload(BaseModel):
    """Arguments of a chore for one upload."""

    model_config = ConfigDict(extra="forbid", strict=True)

    upload: str


def open_stores(settings: Settings) -> StoreRegistry:
    """The stores, for a process without requests. Raises OSError without the secret key."""
    secret = (settings.keys_dir / "secret.key").read_bytes()
    return StoreRegistry(StoreOpener(settings, secret, utc_now).open)


def abort_uploads(run: Run, arguments: Removal) -> Removed:
    """Give up what is overdue and remove its parts, or count it."""
    with run.begin() as session:
        now = database_now(session)
        overdue = (Upload.state == "open", Upload.expires_at < now)
        found = session.scalar(select(func.count()).select_from(Upload).where(*overdue)) or 0
    run.tell(f"{found} uploads are overdue")
    if arguments.dry_run or not found:
        return {"uploads": found}
    stores, done, after = open_stores(run.settings), 0, ""
    while True:
        with run.begin() as session:
            query = select(Upload).where(*overdue).order_by(Upload.id).limit(STEP)
            rows = session.scalars(query.where(Upload.id > after) if after else query).all()
            for row in rows:
                try:
                    remove_parts(stores.by_id(session, row.store_id), row)
                except StoreError as error:
                    log.warning("upload_not_removed", upload=row.id, why=str(error))
                    continue
                row.state, done = "aborted", done + 1
            after = rows[-1].id if rows else after
        if len(rows) < STEP:
            return {"uploads": done}


def retain(run: Run, arguments: Removal) -> Removed:
    """Remove what is older than its retention, or count it. What is pinned or has an alias stays."""
    settings, counts = run.settings, Removed()
    with run.begin() as session:
        now = database_now(session)
    for what, seconds, work in (
        ("outputs", settings.retention_outputs, _purge_outputs),
        ("log segments", settings.retention_logs, _remove_logs),
    ):
        if seconds:
            counts[what] = work(run, now - timedelta(seconds=seconds), dry_run=arguments.dry_run)
    counts |= remove(run, _rules(settings), dry_run=arguments.dry_run)
    if any(counts.values()) and not arguments.dry_run:
        with run.begin() as session:
            AuditService(utc_now).record(
                session, "retention.applied", actor="system", subject=run.chore, removed=dict(counts)
            )
    return counts


def _rules(settings: Settings) -> list[Rule]:
    def points(now: datetime) -> ColumnElement[bool]:
        return MetadataPoint.execution_id.in_(_ended(now - timedelta(seconds=settings.retention_metadata)))

    def samples(now: datetime) -> ColumnElement[bool]:
        ended = _ended(now - timedelta(seconds=settings.retention_usage))
        return UsageSample.attempt_id.in_(select(Attempt.id).where(Attempt.execution_id.in_(ended)))

    rules = [
        (settings.retention_metadata, Rule("metadata points", MetadataPoint, points)),
        (settings.retention_usage, Rule("utilisation samples", UsageSample, samples)),
    ]
    return [rule for seconds, rule in rules if seconds]


def _ended(before: datetime) -> Select[str]:
    """Ids of executions that ended before, but for pinned ones."""
    return select(Execution.id).where(Execution.ended_at < before, Execution.pinned_at.is_(None))


def _purge_outputs(run: Run, before: datetime, *, dry_run: bool) -> int:
    pinned = select(Execution.id).where(Execution.pinned_at.is_not(None))
    old = (
        Datum.created_at < before,
        Datum.purged_at.is_(None),
        Datum.deleted_at.is_(None),
        Datum.id.not_in(select(DatumAlias.datum_id)),
        # What was adopted is neither an output nor uploaded, and its bytes are not ours.
        Datum.output_execution_id.is_not(None) | Datum.id.in_(select(Upload.datum_id)),
        Datum.output_execution_id.is_(None) | Datum.output_execution_id.not_in(pinned),
    )
    with run.begin() as session:
        found = session.scalar(select(func.count()).select_from(Datum).where(*old)) or 0
    run.tell(f"{found} files are older than their retention")
    if dry_run or not found:
        return found
    stores = open_stores(run.settings)
    after, done = "", 0
    while True:
        with run.begin() as session:
            query = select(Datum).where(*old).order_by(Datum.id).limit(STEP)
            rows = session.scalars(query.where(Datum.id > after) if after else query).all()
            for row in rows:
                if _gone(stores.by_id(session, row.store_id), row.key):
                    row.purged_at, done = database_now(session), done + 1
            after = rows[-1].id if rows else after
        if len(rows) < STEP:
            return done


def _remove_logs(run: Run, before: datetime, *, dry_run: bool) -> int:
    attempts = select(Attempt.id).where(Attempt.execution_id.in_(_ended(before)))
    old = LogSegment.attempt_id.in_(attempts)
    with run.begin() as session:
        found = session.scalar(select(func.count()).select_from(LogSegment).where(old)) or 0
    run.tell(f"{found} log segments are older than their retention")
    if dry_run or not found:
        return found
    stores = open_stores(run.settings)
    after, done = "", 0
    while True:
        with run.begin() as session:
            query = select(LogSegment).where(old).order_by(LogSegment.id).limit(STEP)
            rows = session.scalars(query.where(LogSegment.id > after) if after else query).all()
            for row in rows:
                worker = session.get_one(Worker, session.get_one(Attempt, row.attempt_id).worker_id)
                store = stores.find(session, worker.installation_id, "logs")[1]
                if _gone(store, row.key) and _gone(store, f"{row.key.removesuffix('.gz')}.idx"):
                    session.delete(row)
                    done += 1
            after = rows[-1].id if rows else after
        if len(rows) < STEP:
            return done


def _gone(store: ObjectStore, key: str) -> bool:
    """Whether the store removed it; what it did not is tried again by the next run."""
    try:
        store.delete(key)
    except StoreError as error:
        log.warning("object_not_removed", key=key, why=str(error))
        return False
    return True


def complete_upload(run: Run, arguments: OfUpload) -> dict[str, Any]:
    """Put a large upload together and make its datum; what its sender has to mend opens it again."""
    with run.begin() as session:
        row = session.get(Upload, arguments.upload)
        if row is None or row.state != "completing":
            return {}
        stores = open_stores(run.settings)
        store, marks = stores.by_id(session, row.store_id), marks_of(session, row)
        session.expunge(row)
    run.tell(f"putting {row.size} bytes together")
    try:
        sums = put_together(store, row, list(marks.values()), run.check)
    except (StoreError, ChecksumError) as error:
        with run.begin() as session:
            opened = session.get_one(Upload, row.id)
            opened.state, opened.error = "open", str(error)[:500]
        raise ChoreFailedError(str(error), "upload_failed") from error
    audit = AuditService(utc_now)
    data = DataService(stores, run.settings.public_url, utc_now, audit, Limits(run.settings.limits))
    with run.begin() as session:
        row = session.get_one(Upload, row.id)
        datum = finish(session, row, store.uri(row.key), sums, database_now(session), audit)
        if row.user_metadata and not datum.user_metadata:
            data.describe(session, Actor(row.creator_id, ""), datum, row.user_metadata)
        return {"datum": datum.id}


UPLOADS = Kind(
    name="uploads",
    summary="Abort uploads that nobody has completed in time, and remove their parts.",
    arguments=Removal,
    handler=abort_uploads,
    every=lambda settings: settings.housekeeping_interval,
)
UPLOAD_COMPLETE = Kind(
    name="upload-complete",
    summary="Put the parts of a large upload together and make its file.",
    arguments=OfUpload,
    handler=complete_upload,
)
DATA_RETENTION = Kind(
    name="data-retention",
    summary="Purge outputs, logs, metadata and utilisation that are older than their retention, where one is set.",
    arguments=Removal,
    handler=retain,
    every=lambda settings: settings.retention_interval,
)
