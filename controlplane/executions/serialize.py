"""The API's form of an execution."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from controlplane.accounts.models import User
from controlplane.clock import api_time
from controlplane.commits.models import Commit
from controlplane.data.models import Datum
from controlplane.environments.models import WorkerGroup
from controlplane.executions.models import Execution, ExecutionComment
from controlplane.projects.models import Project
from controlplane.reasons import next_step, sentence
from controlplane.variables.models import VariableGroup

# What the form in lists reads: `vh` asks for 9,001 at once.
BRIEF = (
    Execution.counter, Execution.project_id, Execution.state, Execution.status_detail, Execution.reason,
    Execution.reason_args, Execution.step, Execution.title, Execution.tags, Execution.created_at, Execution.queued_at,
    Execution.started_at, Execution.ended_at, Execution.image, Execution.exit_code, Execution.price,
    Execution.deleted_at, Execution.priority, Execution.creator_id, Execution.pinned_at,
)  # fmt: skip
# Parts of one execution's form that lists give when they are asked for.
INCLUDABLE = (
    "commit", "creator", "cumulative_metadata", "environment", "environment_variables", "inputs", "parameters",
)  # fmt: skip


def duration(execution: Execution, now: datetime) -> float | None:
    """Seconds since it started, up to its end; None before."""
    if execution.started_at is None:
        return None
    return ((execution.ended_at or now) - execution.started_at).total_seconds()


def brief(execution: Execution, base: str, now: datetime) -> dict[str, Any]:
    """The form in lists."""
    url = f"{base}/api/v0/executions/{execution.id}/"
    return {
        "id": execution.id,
        "counter": execution.counter,
        "project": execution.project_id,
        "status": execution.state,
        "status_detail": execution.status_detail or sentence(execution.reason, execution.reason_args) or None,
        "reason": execution.reason,
        "next_step": next_step(execution.reason, execution.reason_args),
        "step": execution.step,
        "title": execution.title or execution.step,
        "tags": execution.tags,
        "ctime": api_time(execution.created_at),
        "qtime": api_time(execution.queued_at),
        "stime": api_time(execution.started_at),
        "etime": api_time(execution.ended_at),
        "duration": duration(execution, now),
        "image": execution.image,
        "exit_code": execution.exit_code,
        "price": None if execution.price is None else execution.price / 1_000_000,
        "deleted": execution.deleted_at is not None,
        "priority": execution.priority,
        "creator": execution.creator_id,
        "is_pinned": execution.pinned_at is not None,
        "url": url,
        "urls": {
            "display": f"{base}/executions/{execution.id}/",
            "stop": f"{url}stop/",
            "copy": f"{url}copy/",
            "events": f"{url}events/",
            "metadata": f"{url}metadata/",
            "outputs": f"{url}outputs/",
        },
    }


Part = Callable[[], Any]


def full(session: Session, execution: Execution, base: str, now: datetime, exclude: set[str]) -> dict[str, Any]:
    """The form of one execution; parts named in `exclude` are left out, and not read."""
    shown = brief(execution, base, now)
    for name, read in _parts(session, execution).items():
        if name not in exclude:
            shown[name] = read()
    for name in exclude & set(shown):
        del shown[name]
    return shown


def with_parts(session: Session, execution: Execution, base: str, now: datetime, include: set[str]) -> dict[str, Any]:
    """The form in lists with these of the INCLUDABLE parts."""
    parts = _parts(session, execution)
    return {**brief(execution, base, now), **{name: parts[name]() for name in INCLUDABLE if name in include}}


def _parts(session: Session, execution: Execution) -> dict[str, Part]:
    """What the form of one execution has beside that in lists; each part is read when it is called."""
    return {
        "commit": lambda: _commit(session, execution),
        "environment": lambda: _environment(session, execution),
        "project": lambda: _project(session, execution),
        "creator": lambda: _creator(session, execution),
        "inputs": lambda: [{"name": name, "urls": uris} for name, uris in execution.inputs.items()],
        "parameters": lambda: execution.parameters,
        "command": lambda: execution.command,
        "interpolated_command": lambda: execution.interpolated_command,
        "environment_variables": lambda: {
            name: {"value": None if v.get("secret") else v.get("value"), "secret": bool(v.get("secret"))}
            for name, v in execution.environment_variables.items()
        },
        "environment_variable_groups": lambda: _groups(session, execution),
        "cumulative_metadata": lambda: execution.cumulative_metadata,
        "time_limit": lambda: execution.time_limit or None,
        "no_output_timeout": lambda: execution.no_output_timeout or None,
        "runtime_config": lambda: execution.options.get("runtime_config", {}),
        "autorestart": lambda: execution.options.get("autorestart", False),
        "outputs": lambda: _outputs(session, execution),
        "n_outputs": lambda: _count_outputs(session, execution),
        "attempt": lambda: execution.attempt_number,
        "n_alerts": lambda: 0,
        "n_comments": lambda: session.scalar(
            select(func.count())
            .select_from(ExecutionComment)
            .where(ExecutionComment.execution_id == execution.id, ExecutionComment.deleted_at.is_(None))
        ),
        "emissions": lambda: None,
        "stop_expression": lambda: None,
        "task": lambda: None,
        "pipeline": lambda: None,
    }


def _groups(session: Session, execution: Execution) -> list[str]:
    ids = execution.options.get("variable_groups", [])
    query = select(VariableGroup.name).where(VariableGroup.id.in_(ids)).order_by(VariableGroup.name)
    return list(session.scalars(query)) if ids else []


def _commit(session: Session, execution: Execution) -> dict[str, Any] | None:
    row = session.get(Commit, execution.commit_id)
    return None if row is None else {"identifier": row.identifier, "ref": row.ref, "adhoc": row.adhoc}


def _environment(session: Session, execution: Execution) -> dict[str, Any] | None:
    row = session.get(WorkerGroup, execution.environment_id)
    return None if row is None else {"id": row.id, "name": row.name, "slug": row.slug}


def _project(session: Session, execution: Execution) -> dict[str, Any] | None:
    row = session.get(Project, execution.project_id)
    return None if row is None else {"id": row.id, "name": row.name}


def _creator(session: Session, execution: Execution) -> dict[str, Any] | None:
    row = session.get(User, execution.creator_id) if execution.creator_id else None
    return None if row is None else {"id": row.id, "username": row.username}


def _count_outputs(session: Session, execution: Execution) -> int:
    if not execution.attempt_number:
        return 0
    return session.scalar(select(func.count()).select_from(Datum).where(Datum.output_execution_id == execution.id)) or 0


def _outputs(session: Session, execution: Execution) -> list[dict[str, Any]]:
    if not execution.attempt_number:
        return []
    of = (Datum.output_execution_id == execution.id, Datum.deleted_at.is_(None))
    rows = session.scalars(select(Datum).where(*of).order_by(Datum.name))
    return [
        {
            "id": row.id,
            "name": row.name,
            "size": row.size,
            "uri": f"datum://{row.id}",
            "purged": row.purged_at is not None,
        }
        for row in rows
    ]
