"""Lineage: which execution made a datum from which datums, and what was made from it, in both directions."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from controlplane.data.models import Datum, DatumUse
from controlplane.executions.models import Execution

MAX_DEPTH = 10
MAX_NODES = 1_000


@dataclass
class Graph:
    """What was found so far. An edge leads the way that bytes went; `input` names an execution's input."""

    datums: dict[str, Datum] = field(default_factory=dict)
    executions: dict[str, Execution] = field(default_factory=dict)
    edges: dict[tuple[str, str, str], None] = field(default_factory=dict)
    cut: str = ""

    @property
    def is_full(self) -> bool:
        """Whether no more nodes are taken."""
        return len(self.datums) + len(self.executions) >= MAX_NODES


def lineage(session: Session, datum: Datum, depth: int) -> Graph:
    """`depth` executions in each direction, and at most MAX_NODES nodes; `cut` says what was left out."""
    graph = Graph(datums={datum.id: datum})
    for step in (_back, _forth):
        border = {datum.id}
        for _ in range(depth):
            border = step(session, graph, border)
            if not border or graph.is_full:
                break
        if graph.is_full:
            graph.cut = f"Only the first {MAX_NODES} things are shown."
        elif border and _goes_on(session, border, back=step is _back):
            graph.cut = graph.cut or f"It goes on beyond this depth of {depth}; ask for more, up to {MAX_DEPTH}."
    return graph


def serialize(graph: Graph, depth: int) -> dict[str, Any]:
    """The API's form."""
    nodes: list[dict[str, Any]] = [
        {"kind": "datum", "id": row.id, "name": row.name, "size": row.size, "purged": row.purged_at is not None}
        for row in graph.datums.values()
    ]
    nodes += [
        {
            "kind": "execution",
            "id": row.id,
            "counter": row.counter,
            "step": row.step,
            "status": row.state,
            "deleted": row.deleted_at is not None,
        }
        for row in graph.executions.values()
    ]
    edges = [{"from": start, "to": end, "input": name or None} for start, end, name in graph.edges]
    return {"nodes": nodes, "edges": edges, "depth": depth, "truncated": bool(graph.cut), "why": graph.cut or None}


def _back(session: Session, graph: Graph, border: set[str]) -> set[str]:
    """From datums to the executions that made them, and on to what these had as inputs."""
    makers = {
        datum_id: made_by for datum_id in border if (made_by := graph.datums[datum_id].output_execution_id) is not None
    }
    _executions(session, graph, set(makers.values()))
    for datum_id, made_by in makers.items():
        graph.edges[(made_by, datum_id, "")] = None
    uses = session.scalars(select(DatumUse).where(DatumUse.execution_id.in_(set(makers.values()))).limit(MAX_NODES))
    return _take(session, graph, [(use.datum_id, use.execution_id, use.input) for use in uses], forth=False)


def _forth(session: Session, graph: Graph, border: set[str]) -> set[str]:
    """From datums to the executions that have them as inputs, and on to what these made."""
    uses = session.scalars(select(DatumUse).where(DatumUse.datum_id.in_(border)).limit(MAX_NODES)).all()
    users = {use.execution_id for use in uses}
    _executions(session, graph, users)
    for use in uses:
        graph.edges[(use.datum_id, use.execution_id, use.input)] = None
    made = session.execute(
        select(Datum.id, Datum.output_execution_id).where(Datum.output_execution_id.in_(users)).limit(MAX_NODES)
    )
    return _take(session, graph, [(str(row[1]), row[0], "") for row in made], forth=True)


def _take(session: Session, graph: Graph, edges: list[tuple[str, str, str]], *, forth: bool) -> set[str]:
    """Put edges with their datums into the graph; ids of the new datums."""
    ends = {edge[1 if forth else 0] for edge in edges}
    room = max(0, MAX_NODES - len(graph.datums) - len(graph.executions))
    new = sorted(ends - graph.datums.keys())[:room]
    rows = session.scalars(select(Datum).where(Datum.id.in_(new))) if new else []
    graph.datums |= {row.id: row for row in rows}
    for edge in edges:
        if edge[1 if forth else 0] in graph.datums:
            graph.edges[edge] = None
    return set(new)


def _executions(session: Session, graph: Graph, ids: set[str]) -> None:
    new = ids - graph.executions.keys()
    if new:
        graph.executions |= {row.id: row for row in session.scalars(select(Execution).where(Execution.id.in_(new)))}


def _goes_on(session: Session, border: set[str], *, back: bool) -> bool:
    if back:
        made = select(Datum.id).where(Datum.id.in_(border), Datum.output_execution_id.is_not(None))
        return session.scalar(made.limit(1)) is not None
    return session.scalar(select(DatumUse.id).where(DatumUse.datum_id.in_(border)).limit(1)) is not None
