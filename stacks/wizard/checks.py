"""Checks before anything is created, as data: what is asked, how it is found out, what to do when it is wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

Status = Literal["pass", "warn", "fail", "unknown"]
World = TypeVar("World")


class ProbeError(Exception):
    """A probe could not find out: that is no verdict about what it asked."""


@dataclass(frozen=True)
class Outcome:
    """`evidence`: what was seen."""

    status: Status
    evidence: str


def passed(evidence: str) -> Outcome:
    """It is as it must be."""
    return Outcome("pass", evidence)


def failed(evidence: str) -> Outcome:
    """The installation could not work."""
    return Outcome("fail", evidence)


def warned(evidence: str) -> Outcome:
    """It works, but not as one would want."""
    return Outcome("warn", evidence)


@dataclass(frozen=True)
class Check(Generic[World]):
    """`id` is stable. `fix`: what to do when it fails or warns."""

    id: str
    what: str
    probe: Callable[[World], Outcome]
    fix: str


@dataclass(frozen=True)
class Result:
    """One check's answer, ready to be shown; `fix` is empty where nothing is to be done."""

    id: str
    what: str
    status: Status
    evidence: str
    fix: str


def run_checks(checks: Iterable[Check[World]], world: World) -> list[Result]:
    """Every check's result, in order. A probe that can't run gives `unknown`, which stops nobody."""
    results = []
    for check in checks:
        try:
            outcome = check.probe(world)
        except ProbeError as error:
            outcome = Outcome("unknown", str(error))
        fix = check.fix if outcome.status in ("fail", "warn") else ""
        results.append(Result(check.id, check.what, outcome.status, outcome.evidence, fix))
    return results


def refused(results: Sequence[Result]) -> bool:
    """Whether one of them failed."""
    return any(result.status == "fail" for result in results)


MARKS: dict[Status, str] = {"pass": "ok", "warn": "warning", "fail": "FAILED", "unknown": "unknown"}


def table(results: Sequence[Result]) -> str:
    """The results for people: one line each, the remedy below where there is one."""
    lines = []
    for result in results:
        lines.append(f"  {MARKS[result.status]:<8} {result.what}: {result.evidence}")
        if result.fix:
            lines.append(f"           {result.fix}")
    return "\n".join(lines)
