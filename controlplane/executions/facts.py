"""Tags, parameters and newest metadata of executions as rows of their own, so that lists find by them with an index.

They follow what is written to an execution, in the same transaction and whoever writes it.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Float, ForeignKey, Index, String, delete, event, insert, inspect
from sqlalchemy.orm import Mapped, Mapper, mapped_column

from controlplane.db.base import Base, Id, Owned

KINDS = {"tags": "tag", "parameters": "parameter", "cumulative_metadata": "metadata"}
MAX_NAME = 255


class ExecutionFact(Owned, Base):
    """kind: tag | parameter | metadata. A tag is a name without a value.

    `number` is set for numbers; `digest` is that of the value as text, which may be longer than an index takes.
    """

    __tablename__ = "execution_fact"
    __table_args__ = (
        Index("ix_execution_fact_number", "project_id", "kind", "name", "number", "execution_id"),
        Index("ix_execution_fact_digest", "project_id", "kind", "name", "digest", "execution_id"),
    )

    # Always asked for with a project: an index of the organisation would only mislead.
    organization_id: Mapped[str] = mapped_column(Id, ForeignKey("organization.id"))
    execution_id: Mapped[str] = mapped_column(Id, ForeignKey("execution.id"), primary_key=True)
    kind: Mapped[str] = mapped_column(String(16), primary_key=True)
    name: Mapped[str] = mapped_column(String(MAX_NAME), primary_key=True)
    project_id: Mapped[str] = mapped_column(Id, ForeignKey("project.id"))
    number: Mapped[float | None] = mapped_column(Float(53))
    digest: Mapped[str] = mapped_column(String(32), default="")


@dataclass(frozen=True)
class Fact:
    """A value as it is compared: by its number if it is one, else by its text."""

    number: float | None
    digest: str


def digest_of(text: str) -> str:
    """What stands for a text of any length."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def facts_of(value: Mapping[str, Any] | Sequence[str] | None) -> dict[str, Fact]:
    """By name; what nobody can ask for is left out: null, and names that are too long. Pure."""
    if not isinstance(value, Mapping):
        return {name: Fact(None, "") for name in value or () if len(name) <= MAX_NAME}
    return {name: _fact(one) for name, one in value.items() if one is not None and len(name) <= MAX_NAME}


def _fact(value: Any) -> Fact:
    if isinstance(value, str):
        return Fact(None, digest_of(value))
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return Fact(None, digest_of(text))
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    return Fact(number if math.isfinite(number) else None, digest_of(text))


def follow(model: type[Any]) -> None:
    """Keep the facts of this mapped class from now on."""
    event.listen(model, "after_insert", _write)
    event.listen(model, "after_update", _write)


def _write(_mapper: Mapper[Any], connection: Connection, row: Any) -> None:
    for attribute, kind in KINDS.items():
        history = inspect(row).attrs[attribute].history
        if not history.added:
            continue
        new = facts_of(history.added[0])
        # Where it is not known what was there before, all of it is written anew.
        old = facts_of(history.deleted[0]) if history.deleted else {}
        changed = {name: fact for name, fact in new.items() if old.get(name) != fact}
        _remove(connection, row.id, kind, set(old) - set(new) | set(changed) if history.deleted else None)
        if changed:
            owner = {"organization_id": row.organization_id, "project_id": row.project_id}
            key = {"execution_id": row.id, "kind": kind, **owner}
            values = [{**key, "name": n, "number": f.number, "digest": f.digest} for n, f in changed.items()]
            connection.execute(insert(ExecutionFact), values)


def _remove(connection: Connection, execution: str, kind: str, names: set[str] | None) -> None:
    """Those of these names; None is all of them."""
    if names == set():
        return
    statement = delete(ExecutionFact).where(ExecutionFact.execution_id == execution, ExecutionFact.kind == kind)
    connection.execute(statement if names is None else statement.where(ExecutionFact.name.in_(names)))
