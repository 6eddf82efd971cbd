"""Lines of progress: for people, or one JSON object a line."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from pulumi.automation import EngineEvent, OpType

DONE = {
    OpType.CREATE: "made",
    OpType.UPDATE: "changed",
    OpType.DELETE: "removed",
    OpType.REPLACE: "replaced",
    OpType.CREATE_REPLACEMENT: "made anew",
    OpType.DELETE_REPLACED: "removed the old",
    OpType.IMPORT: "taken in",
}
COMPONENT = "remora:"
STACK = "pulumi:pulumi:Stack"
HIDDEN = ("pulumi:providers:", STACK)
GO_ON = "What was done stays. Mend the cause and give the same command again: it goes on from there."
Say = Callable[[str, dict[str, Any]], None]


def sayer(*, as_json: bool) -> Say:
    """Prints (text, data): the text for people, or the data."""

    def say(text: str, data: dict[str, Any]) -> None:
        print(json.dumps(data) if as_json else text, flush=True)

    return say


def short(kind: str) -> str:
    """`aws:ec2/vpc:Vpc` as people say it: `Vpc`; of a component, `Network`."""
    return kind.rpartition(":")[2]


def _named(urn: str) -> tuple[str, str]:
    kind = urn.split("::")[2].rpartition("$")[2]
    return kind, urn.rpartition("::")[2]


class Progress:
    """Tells each resource that is done. `total`: how many there will be, or 0 where it is not known."""

    def __init__(self, say: Say, total: int = 0) -> None:
        self._say = say
        self._total = total
        self._done = 0
        self._began = time.monotonic()
        self._failures: dict[str, str] = {}

    def __call__(self, event: EngineEvent) -> None:
        """Take one event of Pulumi's engine."""
        if event.res_outputs_event is not None:
            self._finished(event.res_outputs_event.metadata)
        if event.diagnostic_event is not None and event.diagnostic_event.severity == "error":
            self._failed(event.diagnostic_event)

    def _finished(self, step: Any) -> None:
        if step.op not in DONE or step.type.startswith((*HIDDEN, COMPONENT)):
            return
        self._done += 1
        kind, name = _named(step.urn)
        number = f"{self._done}/{self._total}" if self._total else str(self._done)
        seconds = time.monotonic() - self._began
        data = {"event": "resource", "did": DONE[step.op], "type": kind, "name": name, "done": self._done}
        text = f"  [{seconds:4.0f}s] {number:>7}  {DONE[step.op]} {short(kind)} {name}"
        self._say(text, {**data, "total": self._total, "seconds": round(seconds, 1)})

    def _failed(self, event: Any) -> None:
        sentence = " ".join(event.message.split())
        kind, name = _named(event.urn) if event.urn else (STACK, "")
        if not sentence or sentence in self._failures.values():
            return
        where = "" if kind == STACK else f"{short(kind)} {name}"
        if where:
            self._failures.setdefault(where, sentence)
        self._say(f"  failed: {where or 'the run'}: {sentence}", {"event": "failed", "name": name, "why": sentence})

    def ending(self, cause: str) -> str:
        """What to say when it has failed: each resource with its reason; `cause` where none is to blame."""
        failed = [f"  {where}: {sentence}" for where, sentence in self._failures.items()]
        return "\n".join(["Not all of it is done.", *(failed or [f"  {cause}"]), GO_ON])


class PlanTree:
    """Collects what a preview would make, by component."""

    def __init__(self) -> None:
        self._parents: dict[str, str] = {}
        self._steps: dict[str, OpType] = {}

    def __call__(self, event: EngineEvent) -> None:
        """Take one event of a preview."""
        if event.resource_pre_event is None:
            return
        step = event.resource_pre_event.metadata
        if step.type.startswith(HIDDEN):
            return
        self._steps[step.urn] = step.op
        self._parents[step.urn] = (step.new.parent if step.new else step.old.parent if step.old else "") or ""

    def rows(self) -> list[dict[str, Any]]:
        """One row a component, in the order of the program: {part, did, resources: {type: count}}."""
        rows: dict[str, dict[str, Any]] = {}
        for urn, step in self._steps.items():
            kind, name = _named(urn)
            owner = urn if kind.startswith(COMPONENT) else self._parents[urn]
            part = owner.rpartition("::")[2] if owner in self._steps else name
            row = rows.setdefault(part, {"part": part, "did": Counter(), "resources": Counter()})
            if kind.startswith(COMPONENT):
                continue
            row["did"][step.value] += 1
            row["resources"][short(kind)] += 1
        return [{**row, "did": dict(row["did"]), "resources": dict(row["resources"])} for row in rows.values()]

    def total(self) -> int:
        """Resources that the work will tell of."""
        kinds = [_named(urn)[0] for urn, step in self._steps.items() if step in DONE]
        return sum(not kind.startswith(COMPONENT) for kind in kinds)

    def text(self) -> str:
        """The rows for people."""
        lines = []
        for row in self.rows():
            counts = ", ".join(f"{count} {kind}" if count > 1 else kind for kind, count in row["resources"].items())
            lines.append(f"  {row['part']:<34} {counts}")
        return "\n".join(lines)
