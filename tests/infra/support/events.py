"""What Pulumi's CLI tells of a run, in typed form. Source: `apitype/events.go` of github.com/pulumi/pulumi."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Steps that leave the cloud as it was.
QUIET = ("same", "read", "refresh", "read-discard", "discard")


@dataclass(frozen=True)
class Step:
    """One resource's part of a run. `differs` and `replaces` are names of properties."""

    op: str
    urn: str
    type: str
    differs: tuple[str, ...] = ()
    replaces: tuple[str, ...] = ()
    failed: bool = False

    @property
    def name(self) -> str:
        return self.urn.rpartition("::")[2]


@dataclass(frozen=True)
class Diagnostic:
    """A line that the engine, a provider or the program wrote; `urn` where it is about a resource."""

    severity: str
    message: str
    urn: str


@dataclass(frozen=True)
class Run:
    """One call of the CLI: what it did, what it said, how long it took in seconds."""

    code: int
    steps: tuple[Step, ...]
    diagnostics: tuple[Diagnostic, ...]
    counts: dict[str, int]
    seconds: float
    output: str

    @property
    def ok(self) -> bool:
        return self.code == 0

    @property
    def changes(self) -> list[Step]:
        """Steps that change something, or would."""
        return [step for step in self.steps if step.op not in QUIET or step.failed]

    @property
    def errors(self) -> list[str]:
        return [found.message for found in self.diagnostics if found.severity == "error"]

    def step(self, kind: str, name: str) -> Step:
        """The step of the resource with this name, and this class of the SDK. Raises StopIteration."""
        return next(step for step in self.steps if step.name == name and step.type.endswith(f":{kind}"))


def read_run(log: Path, code: int, seconds: float, output: str) -> Run:
    """From the file that `--event-log` wrote; the CLI may end before it writes one."""
    lines = log.read_text().splitlines() if log.exists() else []
    events = [json.loads(line) for line in lines]
    steps = [_step(event["resOutputsEvent"], False) for event in events if "resOutputsEvent" in event]
    steps += [_step(event["resOpFailedEvent"], True) for event in events if "resOpFailedEvent" in event]
    told = [_diagnostic(event["diagnosticEvent"]) for event in events if "diagnosticEvent" in event]
    counts = next((event["summaryEvent"]["resourceChanges"] for event in events if "summaryEvent" in event), {})
    # The stack itself is told of twice: when it begins, and with its outputs.
    steps = list(dict.fromkeys(steps))
    return Run(code, tuple(steps), tuple(told), counts or {}, seconds, output)


def _step(event: dict[str, Any], failed: bool) -> Step:
    data = event["metadata"]
    differs, replaces = (tuple(data.get(key) or ()) for key in ("diffs", "keys"))
    return Step(data["op"], data["urn"], data["type"], differs, replaces, failed)


def _diagnostic(event: dict[str, Any]) -> Diagnostic:
    return Diagnostic(event["severity"], event["message"].strip(), event.get("urn") or "")
