"""Who runs next, and where. Pure: no database, no clock."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Waiting:
    """A queued execution. `order` is its place in time (smaller is older)."""

    execution: str
    project: str
    group: str
    priority: int
    order: str


@dataclass(frozen=True)
class Free:
    """A worker of a group with `slots` free."""

    worker: str
    group: str
    slots: int


def choose(
    waiting: Iterable[Waiting], free: Iterable[Free], running: Mapping[str, int], weights: Mapping[str, int]
) -> list[tuple[str, str]]:
    """(execution, worker) pairs. The project with the fewest running per weight goes first; in it priority, then age.

    The worker with the most free slots takes it, so that work spreads. The result does not depend on input order.
    """
    slots: dict[str, dict[str, int]] = defaultdict(dict)
    for entry in free:
        if entry.slots > 0:
            slots[entry.group][entry.worker] = entry.slots
    queues: dict[str, dict[str, list[Waiting]]] = defaultdict(lambda: defaultdict(list))
    for item in waiting:
        queues[item.group][item.project].append(item)
    load = dict(running)
    granted: list[tuple[str, str]] = []
    for group in sorted(queues):
        granted.extend(_fill(queues[group], slots[group], load, weights))
    return granted


def _fill(
    projects: dict[str, list[Waiting]], slots: dict[str, int], load: dict[str, int], weights: Mapping[str, int]
) -> list[tuple[str, str]]:
    for queue in projects.values():
        queue.sort(key=lambda item: (-item.priority, item.order, item.execution), reverse=True)
    granted: list[tuple[str, str]] = []
    while projects and slots:
        project = min(projects, key=lambda p: (load.get(p, 0) / max(1, weights.get(p, 1)), projects[p][-1].order, p))
        item = projects[project].pop()
        worker = min(slots, key=lambda w: (-slots[w], w))
        granted.append((item.execution, worker))
        load[project] = load.get(project, 0) + 1
        slots[worker] -= 1
        if slots[worker] == 0:
            del slots[worker]
        if not projects[project]:
            del projects[project]
    return granted
