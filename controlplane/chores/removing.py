"""Removing rows that are old, in short steps, or only counting them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, delete, func, select

from controlplane.chores.run import Run
from controlplane.dispatch.leases import database_now

STEP = 500


@dataclass(frozen=True)
class Rule:
    """Rows of one table that are old at a moment. `what` names them for people, in the plural."""

    what: str
    table: Any
    is_old: Callable[[datetime], ColumnElement[bool]]


def remove(run: Run, rules: Sequence[Rule], *, dry_run: bool) -> dict[str, int]:
    """How many rows of each rule were removed; with `dry_run`, how many would be."""
    with run.begin() as session:
        now = database_now(session)
    return {rule.what: (_count if dry_run else _remove)(run, rule, now) for rule in rules}


def _count(run: Run, rule: Rule, now: datetime) -> int:
    with run.begin() as session:
        found = session.scalar(select(func.count()).select_from(rule.table).where(rule.is_old(now))) or 0
    run.tell(f"{found} {rule.what} would be removed")
    return found


def _remove(run: Run, rule: Rule, now: datetime) -> int:
    removed = 0
    while True:
        with run.begin() as session:
            ids = list(session.scalars(select(rule.table.id).where(rule.is_old(now)).limit(STEP)))
            if ids:
                gone = delete(rule.table).where(rule.table.id.in_(ids))
                session.execute(gone, execution_options={"synchronize_session": False})
        removed += len(ids)
        run.tell(f"{removed} {rule.what} removed")
        if len(ids) < STEP:
            return removed
