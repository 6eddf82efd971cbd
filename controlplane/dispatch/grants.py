"""Who runs next, and where. Pure: no database, no clock."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction


@dataclass(frozen=True)
class Waiting:
    """A queued execution. `order` is its place in time (smaller is older).

    `avoid`: workers on which it failed last; they get it only when no other one of the group is free.
    """

    execution: str
    project: str
    group: str
    priority: int
    order: str
    avoid: frozenset[str] = frozenset()


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
    queues: dict[str, list[Waiting]] = defaultdict(list)
    for item in waiting:
        if item.group in slots:
            queues[item.group].append(item)
    load = dict(running)
    granted: list[tuple[str, str]] = []
    for group in sorted(queues):
        workers = slots[group]
        room = sum(workers.values())
        for item in in_turn(queues[group], load, weights, room):
            worker = _worker_for(item, workers)
            granted.append((item.execution, worker))
            workers[worker] -= 1
            if workers[worker] == 0:
                del workers[worker]
    return granted


def in_turn(
    waiting: Iterable[Waiting], load: dict[str, int], weights: Mapping[str, int], most: int | None = None
) -> list[Waiting]:
    """The first `most` of one group's queue in the order in which they would be granted.

    `load` (running by project) is counted up with each.
    """
    queues: dict[str, list[Waiting]] = defaultdict(list)
    for item in waiting:
        queues[item.project].append(item)
    for queue in queues.values():
        queue.sort(key=lambda item: (-item.priority, item.order, item.execution), reverse=True)
    heap = [(_share(project, load, weights), queue[-1].order, project) for project, queue in queues.items()]
    heapq.heapify(heap)
    chosen: list[Waiting] = []
    while heap and (most is None or len(chosen) < most):
        _, _, project = heapq.heappop(heap)
        chosen.append(queues[project].pop())
        load[project] = load.get(project, 0) + 1
        if queues[project]:
            heapq.heappush(heap, (_share(project, load, weights), queues[project][-1].order, project))
    return chosen


def _share(project: str, load: Mapping[str, int], weights: Mapping[str, int]) -> Fraction:
    return Fraction(load.get(project, 0), max(1, weights.get(project, 1)))


def _worker_for(item: Waiting, workers: Mapping[str, int]) -> str:
    return min(workers, key=lambda worker: (worker in item.avoid, -workers[worker], worker))
