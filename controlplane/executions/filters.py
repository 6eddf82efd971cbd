"""Which executions a list is asked for: the query's fields, and the conditions that they make."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import ColumnElement, or_, select

from controlplane.commits.models import Commit
from controlplane.db.ids import is_id
from controlplane.environments.models import WorkerGroup
from controlplane.executions.comparing import PATTERN, Condition, has_tag, matches, parse
from controlplane.executions.models import FINAL, INCOMPLETE, Execution
from controlplane.web import query

ORDERINGS = {
    "counter": Execution.counter,
    "ctime": Execution.created_at,
    "id": Execution.id,
    "qtime": Execution.queued_at,
    "stime": Execution.started_at,
    "etime": Execution.ended_at,
    "status": Execution.state,
    "step": Execution.step,
    "title": Execution.title,
}
STATES = (*INCOMPLETE, *FINAL, "incomplete")
MAX_COUNTER = 2**31 - 1


def _condition(sentence: str) -> query.QueryField:
    return query.QueryField(sentence, {"type": "string", "pattern": PATTERN, "example": "loss<0.5"}, parse, many=True)


FIELDS: dict[str, query.QueryField] = {
    "project": query.ident("Id of the project.", required=True),
    "id": query.text("These ids.", 64, many=True),
    "counter": query.whole("These counters.", 0, MAX_COUNTER, many=True),
    "status": query.choice("In one of these states; `incomplete` is all that are not over.", STATES, many=True),
    "creator": query.text("Made by one of these users (ids).", 64, many=True),
    "step": query.text("Of one of these steps.", many=True),
    "tag": query.text("With all of these tags.", many=True),
    "environment": query.text("In the environment with this id or slug.", 64),
    "commit": query.text("Of the commit with this identifier or id.", 80),
    "parameter": _condition("Parameters that meet all of these: NAME=VALUE, with = != < <= > >=."),
    "metadata": _condition("Newest metadata that meets all of these: NAME<VALUE, with = != < <= > >=."),
    "search": query.text("With this text in title or step."),
    "created_after": query.moment("Created at this moment or later."),
    "created_before": query.moment("Created before this moment."),
    "pinned": query.flag("Only pinned ones, or none of them."),
    "deleted": query.flag("Deleted ones instead of those that are there."),
    "adhoc": query.flag("Only those of ad-hoc code, or none of them."),
    "task": query.text("Of this task; there are none in this version.", 64),
    "pipeline": query.text("Of this pipeline; there are none in this version.", 64),
}


def conditions(project_id: str, wanted: Mapping[str, Any]) -> list[ColumnElement[bool]]:
    """What rows have to meet. `wanted`: values of FIELDS by their names; what is missing or empty asks for nothing."""
    found: list[ColumnElement[bool]] = [Execution.project_id == project_id]
    found.append(Execution.deleted_at.is_not(None) if wanted.get("deleted") else Execution.deleted_at.is_(None))
    found.extend(_plain(wanted))
    if wanted.get("environment"):
        groups = select(WorkerGroup.id).where(_named(WorkerGroup.id, WorkerGroup.slug, wanted["environment"]))
        found.append(Execution.environment_id.in_(groups))
    of_commit = _of_commit(project_id, wanted)
    if of_commit is not None:
        found.append(of_commit)
    for tag in wanted.get("tag") or ():
        found.append(has_tag(project_id, tag))
    for kind in ("parameter", "metadata"):
        given: list[Condition] = wanted.get(kind) or []
        found.extend(matches(project_id, kind, condition) for condition in given)
    return found


def _plain(wanted: Mapping[str, Any]) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    statuses: set[str] = set(wanted.get("status") or ())
    if "incomplete" in statuses:
        statuses = (statuses - {"incomplete"}) | set(INCOMPLETE)
    if statuses:
        found.append(Execution.state.in_(sorted(statuses)))
    if wanted.get("id"):
        found.append(Execution.id.in_(_ids(wanted["id"])))
    if wanted.get("counter"):
        found.append(Execution.counter.in_(wanted["counter"]))
    if wanted.get("creator"):
        found.append(Execution.creator_id.in_(_ids(wanted["creator"])))
    if wanted.get("step"):
        found.append(Execution.step.in_(wanted["step"]))
    if wanted.get("search"):
        sought = wanted["search"]
        in_title = Execution.title.icontains(sought, autoescape=True)
        found.append(in_title | Execution.step.icontains(sought, autoescape=True))
    if wanted.get("created_after"):
        found.append(Execution.created_at >= wanted["created_after"])
    if wanted.get("created_before"):
        found.append(Execution.created_at < wanted["created_before"])
    if wanted.get("pinned") is not None:
        pinned = Execution.pinned_at
        found.append(pinned.is_not(None) if wanted["pinned"] else pinned.is_(None))
    if wanted.get("task") or wanted.get("pipeline"):
        found.append(Execution.id.in_([]))
    return found


def _of_commit(project_id: str, wanted: Mapping[str, Any]) -> ColumnElement[bool] | None:
    if not wanted.get("commit") and wanted.get("adhoc") is None:
        return None
    commits = select(Commit.id).where(Commit.project_id == project_id)
    if wanted.get("commit"):
        commits = commits.where(_named(Commit.id, Commit.identifier, wanted["commit"]))
    if wanted.get("adhoc") is not None:
        commits = commits.where(Commit.adhoc == wanted["adhoc"])
    return Execution.commit_id.in_(commits)


def _named(id_column: Any, name_column: Any, given: str) -> ColumnElement[bool]:
    ids = _ids([given])
    return or_(id_column == ids[0], name_column == given) if ids else name_column == given


def _ids(given: list[str]) -> list[str]:
    """Those that are ids at all: PostgreSQL compares an id with nothing else."""
    return [one.lower() for one in given if is_id(one)]
