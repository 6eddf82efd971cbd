"""Executions as people know them: create, find, stop, delete. Works in the caller's session."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, func, select, update
from sqlalchemy.orm import InstrumentedAttribute, Session, load_only

from controlplane.clock import Clock
from controlplane.commits.models import Commit
from controlplane.db.ids import is_id, uuid7
from controlplane.doorbell import Doorbell
from controlplane.environments.models import WorkerGroup
from controlplane.environments.service import visible_groups
from controlplane.errors import ConflictError, NotFoundError, TooManyError, ValidationError
from controlplane.executions.addresses import resolve_inputs
from controlplane.executions.copying import copy_of
from controlplane.executions.events import EventBook
from controlplane.executions.filters import ORDERINGS, conditions
from controlplane.executions.lineage import uses
from controlplane.executions.models import FINAL, Attempt, Execution, ExecutionEvent
from controlplane.executions.request import ExecutionChanges, NewExecution, check_tags, find_step, resolve
from controlplane.executions.transitions import Transitions
from controlplane.executions.variables import kept
from controlplane.git.resolving import find_commit, missing_commit
from controlplane.limits import Limits
from controlplane.permissions import Actor, require
from controlplane.projects.models import Project
from controlplane.security.vault import Vault
from controlplane.settings import Settings
from controlplane.stores.access import choose_store
from controlplane.stores.inputs import Lists
from controlplane.variables.layers import group_ids, inherited_names


class ExecutionsService:
    """What people do with executions."""

    def __init__(self, clock: Clock, vault: Vault, settings: Settings) -> None:
        self._limits = Limits(settings.limits)
        self._clock = clock
        self._vault = vault
        self._settings = settings
        self._loops = Doorbell(settings.run_dir)

    def create(
        self,
        session: Session,
        actor: Actor,
        project: Project,
        commit: Commit,
        wanted: NewExecution,
        lists: Lists | None = None,
    ) -> Execution:
        """Accept an execution: row and event in the caller's one transaction.

        Raises ValidationError, TooManyError, and ListingNeededError for wildcards that `lists` does not have.
        """
        if commit.config_errors or commit.config is None:
            raise ValidationError({"commit": ("Its valohai.yaml is not valid, so nothing runs from it.", "bad_yaml")})
        step = find_step(commit.config, wanted.step)
        inherit = wanted.inherit_environment_variables
        groups = group_ids(session, project, [*step.environment_variable_groups, *wanted.environment_variable_groups])
        template = resolve(step, wanted, inherited_names(session, project, groups, inherit=inherit))
        group = self._group(session, project, template.environment)
        resolved = resolve_inputs(session, project, template.inputs, lists or {})
        store = choose_store(session, project, template.options.get("upload_store"))
        self._check_queue(session, project)
        now, execution_id = self._clock(), uuid7()
        execution = Execution(
            id=execution_id,
            organization_id=project.organization_id,
            project_id=project.id,
            counter=self._next_counter(session, project),
            commit_id=commit.id,
            environment_id=group.id,
            creator_id=actor.user_id,
            step=wanted.step,
            title=wanted.title or "",
            image=template.image,
            command=template.command,
            interpolated_command=template.interpolated,
            parameters=template.parameters,
            inputs=resolved.inputs,
            environment_variables=kept(execution_id, template.variables, self._vault),
            tags=check_tags(wanted.tags),
            options={
                **template.options,
                "variable_groups": groups,
                "inherit_variables": inherit,
                "store": store,
                "files": resolved.files,
            },
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
        session.add_all(uses(execution, resolved.matched))
        book = EventBook(session, now)
        book.note(execution, None, "state", "queued", reason="waiting_for_grant", actor=actor.user_id)
        self._loops.ring_after(session)
        return execution

    def copy(
        self,
        session: Session,
        actor: Actor,
        execution: Execution,
        changes: ExecutionChanges,
        lists: Lists | None = None,
    ) -> Execution:
        """The same once more, but for what `changes` says. See `create`."""
        project = session.get_one(Project, execution.project_id)
        commit = session.get_one(Commit, execution.commit_id)
        if changes.commit is not None:
            commit = self.commit(session, project, changes.commit)
        return self.create(session, actor, project, commit, copy_of(execution, changes, self._vault), lists)

    def commit(self, session: Session, project: Project, name: str) -> Commit:
        """The project's commit by identifier, branch, tag or the beginning of a hash. Raises ValidationError."""
        found = find_commit(session, project, name)
        if found is None:
            raise missing_commit(session, project, name)
        return found

    def list(
        self,
        session: Session,
        project_id: str,
        query: dict[str, Any],
        columns: Sequence[InstrumentedAttribute[Any]] = (),
    ) -> tuple[list[Execution], int]:
        """(page, count); only these columns are read (all when none is named). Raises ValidationError.

        query: values of `filters.FIELDS` by name, ordering, limit, offset, no_count (then the count is only that of
        what was read).
        """
        where = conditions(project_id, query)
        limit, offset = query.get("limit", 100), query.get("offset", 0)
        ordering = query.get("ordering") or "-counter"
        column = ORDERINGS.get(ordering.removeprefix("-"))
        if column is None:
            raise ValidationError({"ordering": f"One of {', '.join(ORDERINGS)}, with '-' before it for descending."})
        order = (column.desc(), Execution.id.desc()) if ordering.startswith("-") else (column.asc(), Execution.id.asc())
        if column in (Execution.counter, Execution.id):
            order = order[:1]
        chosen = select(Execution).options(load_only(*columns)) if columns else select(Execution)
        rows = list(session.scalars(chosen.where(*where).order_by(*order).limit(limit).offset(offset)))
        if query.get("no_count") or (not offset and len(rows) < limit):
            return rows, offset + len(rows)
        return rows, _count(session, project_id, where, is_whole=len(where) == 2 and not query.get("deleted"))

    def get(self, session: Session, actor: Actor, key: str, action: str = "execution.read") -> Execution:
        """By id, `PROJECT:COUNTER` or `PROJECT:latest`. Raises NotFoundError, PermissionDeniedError."""
        row = self._find(session, key)
        if row is None:
            raise NotFoundError
        require(actor, action, row.organization_id, row.project_id)
        return row

    def stop(self, session: Session, actor: Actor, execution: Execution) -> None:
        """Ask it to end: at once while it waits, through its worker while it runs; nothing when it has ended."""
        now = self._clock()
        transitions = Transitions(session, now, self._settings.max_attempts)
        # The dispatcher holds the same lock when it grants: one of the two comes second and sees what the first did.
        locked = transitions.lock(execution.id)
        if locked is None or locked.state in FINAL:
            return
        args = {"by": actor.username}
        attempt = self.current_attempt(session, execution)
        if attempt is None or attempt.state == "ended":
            transitions.move(execution, "stopped", "stopped_by_user", args, actor=actor.user_id)
            return
        attempt.stop_reason = attempt.stop_reason or "stopped_by_user"
        if execution.state != "stopping":
            execution.stop_requested_by = actor.user_id
            transitions.move(execution, "stopping", "stopping", args, attempt, actor=actor.user_id)
            self._loops.ring_after(session)

    def delete(self, session: Session, execution: Execution) -> None:
        """Hide it from lists. Raises ConflictError while it is not over."""
        if execution.state == "stopping":
            raise ConflictError(f"#{execution.counter} is stopping; delete it once it has stopped.")
        if execution.state not in FINAL:
            raise ConflictError(f"#{execution.counter} is {execution.state}; stop it first (`vh exec stop`).")
        execution.deleted_at = self._clock()

    def pin(self, session: Session, execution: Execution, *, pinned: bool) -> None:
        """Keep it at hand, or no longer. Raises LimitReachedError."""
        if not pinned:
            execution.pinned_at = None
        elif execution.pinned_at is None:
            of = (Execution.project_id == execution.project_id, Execution.pinned_at.is_not(None))
            of = (*of, Execution.deleted_at.is_(None))
            count = session.scalar(select(func.count()).select_from(Execution).where(*of)) or 0
            self._limits.check("pins", count + 1)
            execution.pinned_at = self._clock()

    def set_tags(self, execution: Execution, tags: list[str]) -> list[str]:
        """Replace the tags. Raises ValidationError."""
        execution.tags = check_tags(tags)
        return execution.tags

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

    def newest_events(self, session: Session, execution: Execution, limit: int) -> list[ExecutionEvent]:
        """The last `limit` things that happened, in order."""
        query = select(ExecutionEvent).where(ExecutionEvent.execution_id == execution.id)
        query = query.order_by(ExecutionEvent.at.desc(), ExecutionEvent.id.desc()).limit(limit)
        return list(reversed(session.scalars(query).all()))

    @staticmethod
    def _next_counter(session: Session, project: Project) -> int:
        """The next number of the project, taken in this transaction: nobody gets the same, and none is left out."""
        following = session.scalar(
            update(Project)
            .where(Project.id == project.id)
            .values(next_counter=Project.next_counter + 1)
            .returning(Project.next_counter)
            .execution_options(synchronize_session=False)
        )
        if following is None:
            raise NotFoundError
        return following - 1

    def _find(self, session: Session, key: str) -> Execution | None:
        if is_id(key):
            return session.get(Execution, key)
        project_id, _, counter = key.partition(":")
        if not is_id(project_id):
            return None
        query = select(Execution).where(Execution.project_id == project_id, Execution.deleted_at.is_(None))
        if counter == "latest":
            return session.scalars(query.order_by(Execution.counter.desc()).limit(1)).first()
        if not (counter.isascii() and counter.isdigit()) or len(counter) > 9:
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
        for label in ("id", "slug", "name"):
            found = [group for group in groups if getattr(group, label) == name]
            if len(found) == 1:
                return found[0]
            if found:
                ids = ", ".join(group.id for group in found)
                raise ValidationError(
                    {"environment": (f"{name!r} names several; take one of the ids {ids}.", "ambiguous")}
                )
        known = ", ".join(group.slug for group in groups) or "none"
        raise ValidationError(
            {"environment": (f"No environment {name[:80]!r}; there is: {known[:500]}.", "does_not_exist")}
        )

    def _check_queue(self, session: Session, project: Project) -> None:
        limit = self._settings.max_queued_per_project
        waiting = session.scalar(
            select(func.count())
            .select_from(Execution)
            .where(Execution.project_id == project.id, Execution.state == "queued")
        )
        if (waiting or 0) >= limit:
            raise TooManyError(f"{limit} executions of this project wait already; try again when some have run.", 60)


def _count(session: Session, project_id: str, where: Sequence[ColumnElement[bool]], *, is_whole: bool) -> int:
    """How many rows meet `where`; of a whole project it is not counted row by row, however many there are."""
    counted = select(func.count()).select_from(Execution)
    # Two conditions: its project, and that it is not deleted.
    if not is_whole:
        return session.scalar(counted.where(*where)) or 0
    # Every number below the next one is an execution's: it is taken in the transaction that makes one, and none goes.
    following = session.scalar(select(Project.next_counter).where(Project.id == project_id)) or 1
    deleted = (Execution.project_id == project_id, Execution.deleted_at.is_not(None))
    return following - 1 - (session.scalar(counted.where(*deleted)) or 0)
