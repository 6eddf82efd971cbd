"""Which datums a list is asked for: the query's fields, and the conditions that they make."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import ColumnElement, Select, select

from controlplane.data.models import Datum
from controlplane.data.tags import DatumTag
from controlplane.db.ids import is_id
from controlplane.environments.models import Store
from controlplane.web import query

ORDERINGS = {"ctime": Datum.created_at, "id": Datum.id, "name": Datum.name, "size": Datum.size}
FIELDS: dict[str, query.QueryField] = {
    "project": query.ident("Id of the project; not needed beside `output_execution`."),
    "output_execution": query.text("Outputs of this execution (id, or PROJECT:COUNTER)."),
    "id": query.text("These ids.", 64, many=True),
    "name": query.text("With this name; `*` stands for any text, `?` for one character.", 512),
    "tag": query.text("With all of these tags.", many=True),
    "store": query.text("In the store with this id or name.", 64),
    "search": query.text("With this text in the name."),
    "created_after": query.moment("Created at this moment or later."),
    "created_before": query.moment("Created before this moment."),
    "purged": query.flag("With purged ones (true), or only those that have bytes (false, as without it)."),
    "deleted": query.flag("Accepted for the client tools: deleted ones are never shown, so true shows none."),
}


def conditions(project_id: str | None, wanted: Mapping[str, Any]) -> list[ColumnElement[bool]]:
    """What rows have to meet beside being of that project or execution, which the caller adds."""
    found: list[ColumnElement[bool]] = [Datum.deleted_at.is_(None)]
    if wanted.get("deleted"):
        found.append(Datum.id.in_([]))
    if not wanted.get("purged"):
        found.append(Datum.purged_at.is_(None))
    if wanted.get("id"):
        found.append(Datum.id.in_([one.lower() for one in wanted["id"] if is_id(one)]))
    if wanted.get("name"):
        found.append(_named(wanted["name"]))
    for tag in wanted.get("tag") or ():
        found.append(Datum.id.in_(_tagged(project_id, tag)))
    if wanted.get("store"):
        given = wanted["store"]
        named = Store.name == given
        stores = select(Store.id).where(named | (Store.id == given.lower()) if is_id(given) else named)
        found.append(Datum.store_id.in_(stores))
    if wanted.get("search"):
        found.append(Datum.name.icontains(wanted["search"], autoescape=True))
    if wanted.get("created_after"):
        found.append(Datum.created_at >= wanted["created_after"])
    if wanted.get("created_before"):
        found.append(Datum.created_at < wanted["created_before"])
    return found


def _tagged(project_id: str | None, tag: str) -> Select[str]:
    tagged = select(DatumTag.datum_id).where(DatumTag.tag == tag)
    return tagged.where(DatumTag.project_id == project_id) if project_id else tagged


def _named(name: str) -> ColumnElement[bool]:
    if "*" not in name and "?" not in name:
        return Datum.name == name
    escaped = name.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return Datum.name.ilike(escaped.replace("*", "%").replace("?", "_"), escape="\\")
