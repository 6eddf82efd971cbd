"""Executions as people know them: create, find, stop, delete. Works in the caller's session."""

from __future__ import annotations

from typing import Any

from sqlalchemy import func, or_, select, update
from sqlalchemy.orm import Session

from controlplane.clock import Clock
from controlplane.commits.models import Commit
from controlplane.data.models import Datum, DatumAlias
from controlplane.db.ids import is_id
from controlplane.environments.models import WorkerGroup
from controlplane.environments.service import visible_groups
from controlplane.errors import ConflictError, NotFoundError, TooManyError, ValidationError
from controlplane.executions.models import FINAL, INCOMPLETE, Attempt, Execution, ExecutionEvent
from controlplane.executions.request import NewExecution, resolve
from controlplane.permissions import Actor, require
from controlplane.projects.models import Project
from controlplane.security.vault import Vault
from controlplane.settings import Settings

ORDERINGS = {"counter": Execution.counter, "ctime": Execution.created_at, "id": Execution.id}


class ExecutionsService:
    """What people do with executions."""

    def __init__(self, clock: Clock, vault: Vault, settings: Settings) -> None:
        self._clock = clock
        self._vault = vault
        self._settings = settings

    def create(
        self, session: Session, actor: Actor, project: Project, commit: Commit, wanted: NewExecution
    ) -> Execution:
        """Accept an execution: row and event in the caller's one transaction. Raises ValidationError, TooManyError."""
        template = resolve(commit.config or {}, wanted)
        group = self._group(session, project, template.environment)
        inputs = {
            name: [self._resolve_uri(session, project, name, uri) for uri in uris]
            for name, uris in template.inputs.items()
        }
        self._check_queue(session, project)
        now = self._clock()
        counter = session.scalar(
            update(Project)
            .where(Project.id == project.id)
            .values(next_counter=Project.next_counter + 1)
            .returning(Project.next_counter)
            .execution_options(synchronize_session=False)
        )
        execution = Execution(
            organization_id=project.organization_id,
            project_id=project.id,
            counter=(counter or 2) - 1,
            commit_id=commit.id,
            environment_id=group.id,
            creator_id=actor.user_id,
            step=wanted.step,
            title=wanted.title or "",
            image=template.image,
            command=template.command,
            interpolated_command=template.interpolated,
            parameters=template.parameters,
            inputs=inputs,
            environment_variables={name: {"value": value} for name, value in template.variables.items()},
            tags=sorted(set(wanted.tags)),
            options=template.options,
            time_limit=template.time_limit,
            no_output_timeout=template.no_output_timeout,
            priority=wanted.priority,
            state="queued",
            reason="waiting_for_grant",
            created_at=now,
            queued_at=now,
        )
        session.add(execution)
        session.flush()
        self.record(session, execution, "state", "queued", actor.user_id, reason="waiting_for_grant")
        return execution

    def list(self, session: Session, project_id: str, query: dict[str, Any]) -> tuple[list[Execution], int]:
        """(page, count). query: statuses, counters, creator, deleted, text, step, ordering, limit, offset."""
        where = [Execution.project_id == project_id]
        where.append(Execution.deleted_at.is_not(None) if query.get("deleted") else Execution.deleted_at.is_(None))
        statuses: set[str] = set(query.get("statuses") or ())
        if "incomplete" in statuses:
            statuses = (statuses - {"incomplete"}) | set(INCOMPLETE)
        if statuses:
            where.append(Execution.state.in_(statuses))
        if query.get("counters"):
            where.append(Execution.counter.in_(query["counters"]))
        if query.get("creator"):
            where.append(Execution.creator_id == query["creator"])
        if query.get("step"):
            where.append(Execution.step == query["step"])
        if query.get("text"):
            text = query["text"]
            where.append(
                or_(Execution.title.icontains(text, autoescape=True), Execution.step.icontains(text, autoescape=True))
            )
        count = session.scalar(select(func.count()).select_from(Execution).where(*where)) or 0
        ordering = query.get("ordering") or "-counter"
        column = ORDERINGS.get(ordering.lstrip("-"))
        if column is None:
            raise ValidationError({"ordering": f"One of {', '.join(ORDERINGS)}, with '-' before it for descending."})
        order = column.desc() if ordering.startswith("-") else column.asc()
        rows = session.scalars(
            select(Execution)
            .where(*where)
            .order_by(order)
            .limit(query.get("limit", 100))
            .offset(query.get("offset", 0))
        )
        return list(rows), count

    def get(self, session: Session, actor: Actor, key: str, action: str = "execution.read") -> Execution:
        """By id, `PROJECT:COUNTER` or `PROJECT:latest`. Raises NotFoundError, PermissionDeniedError."""
        row = self._find(session, key)
        if row is None:
            raise NotFoundError
        require(actor, action, row.organization_id, row.project_id)
        return row

    def stop(self, session: Session, actor: Actor, execution: Execution) -> None:
        """Ask it to end: at once while it waits, through its worker while it runs; nothing when it has ended."""
        if execution.state in FINAL:
            return
        now = self._clock()
        attempt = self.current_attempt(session, execution)
        if attempt is None or attempt.state == "ended":
            execution.state, execution.ended_at = "stopped", now
            execution.reason, execution.reason_args = "stopped_by_user", {"by": actor.username}
            self.record(session, execution, "state", "stopped", actor.user_id, reason="stopped_by_user")
            return
        attempt.stop_kill = bool(attempt.stop_reason) and attempt.stop_kill
        attempt.stop_reason = attempt.stop_reason or "stopped_by_user"
        execution.stop_requested_by = actor.user_id
        if execution.state != "stopping":
            execution.state = "stopping"
            execution.reason, execution.reason_args = "stopping", {"by": actor.username}
            self.record(session, execution, "state", "stopping", actor.user_id, reason="stopping")

    def delete(self, session: Session, execution: Execution) -> None:
        """Hide it from lists. Raises ConflictError while it is not over."""
        if execution.state not in FINAL:
            raise ConflictError(f"#{execution.counter} is {execution.state}; stop it first (`vh exec stop`).")
        execution.deleted_at = self._clock()

    def current_attempt(self, session: Session, execution: Execution) -> Attempt | None:
        """The newest attempt, or None before the first grant."""
        if execution.attempt_number == 0:
            return None
        return session.scalar(
            select(Attempt).where(Attempt.execution_id == execution.id, Attempt.number == execution.attempt_number)
        )

    def attempts(self, session: Session, execution: Execution) -> list[Attempt]:
        """All attempts, in order."""
        query = select(Attempt).where(Attempt.execution_id == execution.id).order_by(Attempt.number)
        return list(session.scalars(query))

    def events(self, session: Session, execution: Execution) -> list[ExecutionEvent]:
        """What happened, in order."""
        query = select(ExecutionEvent).where(ExecutionEvent.execution_id == execution.id)
        return list(session.scalars(query.order_by(ExecutionEvent.at, ExecutionEvent.id)))

    def record(
        self,
        session: Session,
        execution: Execution,
        kind: str,
        message: str,
        actor: str = "system",
        *,
        reason: str = "",
    ) -> None:
        """Append an event."""
        session.add(
            ExecutionEvent(
                organization_id=execution.organization_id,
                execution_id=execution.id,
                at=self._clock(),
                kind=kind,
                actor=actor,
                reason=reason,
                message=message,
            )
        )

    def _find(self, session: Session, key: str) -> Execution | None:
        if is_id(key):
            return session.get(Execution, key)
        project_id, _, counter = key.partition(":")
        if not is_id(project_id):
            return None
        query = select(Execution).where(Execution.project_id == project_id, Execution.deleted_at.is_(None))
        if counter == "latest":
            return session.scalars(query.order_by(Execution.counter.desc()).limit(1)).first()
        if not counter.isdigit() or len(counter) > 9:
            return None
        return session.scalar(query.where(Execution.counter == int(counter)))

    def _group(self, session: Session, project: Project, name: str | None) -> WorkerGroup:
        groups = visible_groups(session, frozenset({project.organization_id}))
        if not name:
            chosen = next((g for g in groups if g.id == project.default_environment_id), None)
            chosen = chosen or next((g for g in groups if g.enabled), None)
            if chosen is None:
                raise ValidationError({"environment": ("No environment is offered to this project.", "does_not_exist")})
            return chosen
        for group in groups:
            if name in (group.slug, group.id, group.name):
                return group
        known = ", ".join(group.slug for group in groups) or "none"
        raise ValidationError({"environment": (f"No environment {name!r}; there is: {known}.", "does_not_exist")})

    def _resolve_uri(self, session: Session, project: Project, name: str, uri: str) -> str:
        """`datum://` names become ids now, so that a later alias changes nothing. Raises ValidationError."""
        scheme, _, rest = uri.partition("://")
        if scheme in ("http", "https", "folder") and rest:
            return uri
        if scheme != "datum" or not rest:
            raise ValidationError(
                {f"inputs.{name}": f"{uri[:200]!r} is no address that this version reads: http(s):// or datum://."}
            )
        datum = session.get(Datum, rest) if is_id(rest) else None
        if datum is None:
            alias = session.scalar(
                select(DatumAlias).where(DatumAlias.project_id == project.id, DatumAlias.name == rest)
            )
            datum = session.get(Datum, alias.datum_id) if alias else None
        if datum is None or datum.project_id != project.id or datum.purged_at is not None:
            raise ValidationError({f"inputs.{name}": (f"No datum {rest[:100]!r} in this project.", "does_not_exist")})
        return f"datum://{datum.id}"

    def _check_queue(self, session: Session, project: Project) -> None:
        limit = self._settings.max_queued_per_project
        waiting = session.scalar(
            select(func.count())
            .select_from(Execution)
            .where(Execution.project_id == project.id, Execution.state == "queued")
        )
        if (waiting or 0) >= limit:
            raise TooManyError(f"{limit} executions of this project wait already; try again when some have run.", 60)
