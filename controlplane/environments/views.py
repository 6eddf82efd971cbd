"""What the pages of environments show. `group_row` and `machine_row` are pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from controlplane.environments.models import Installation, Worker, WorkerGroup
from controlplane.pages.format import money, number, size, span

MOST_SLATS = 48
OWN = ("embedded", "ssh")
PROVIDERS = {
    "embedded": "This machine",
    "ssh": "Own machines",
    "aws": "AWS",
    "gcp": "GCP",
    "azure": "Azure",
    "openstack": "OpenStack",
}
WORKER_STATES = {
    "active": ("idle", "complete"),
    "silent": ("silent", "warn"),
    "draining": ("draining", "stopping"),
    "lost": ("lost", "crashed"),
}


@dataclass(frozen=True)
class GroupRow:
    """An environment in the list; `slats` are l-* classes of the design language."""

    id: str
    name: str
    slug: str
    description: str
    where: str
    waiting: int
    running: int
    oldest: datetime | None
    slats: list[str]
    slats_label: str
    slots: int
    busy: int
    machines: int
    why: str
    mark: str
    mark_word: str
    price: str
    facts: list[tuple[str, str]] = field(default_factory=list)


@dataclass(frozen=True)
class MachineRow:
    """A machine of an environment; `state` is a shape of the design language, `word` its word."""

    name: str
    state: str
    word: str
    slats: list[str]
    label: str
    last_beat_at: datetime | None
    version: str
    disk_free: str
    note: str
    joined_at: datetime


@dataclass(frozen=True)
class Load:
    """Executions of a group that wait and run, as far as the reader may know of them."""

    waiting: int = 0
    running: int = 0
    oldest: datetime | None = None


def group_row(
    group: WorkerGroup, installation: Installation | None, workers: list[Worker], load: Load, now: datetime
) -> GroupRow:
    """One line: how full it is and why."""
    present = [worker for worker in workers if worker.state in ("active", "draining")]
    slots = sum(worker.slots for worker in present)
    busy = sum(_busy(worker) for worker in present)
    mark, mark_word = _mark(group, workers)
    slats = [slat for worker in workers for slat in _slats(worker)]
    return GroupRow(
        id=group.id,
        name=group.name,
        slug=group.slug,
        description=group.description,
        where=_where(group, installation),
        waiting=load.waiting,
        running=load.running,
        oldest=load.oldest,
        slats=slats[:MOST_SLATS],
        slats_label=_slats_label(slats),
        slots=slots,
        busy=busy,
        machines=len(workers),
        why=_why(group, workers, load, slots, busy),
        mark=mark,
        mark_word=mark_word,
        price="own" if installation and installation.provider in OWN else money(group.price, group.currency),
        facts=_facts(group, installation),
    )


def machine_row(worker: Worker, now: datetime) -> MachineRow:
    """One line of a machine."""
    word, state = WORKER_STATES.get(worker.state, (worker.state, "na"))
    busy = _busy(worker)
    if worker.state == "active" and busy:
        word, state = "busy", "started"
    slats = _slats(worker)
    return MachineRow(
        name=worker.name,
        state=state,
        word=word,
        slats=slats[:MOST_SLATS],
        label=_slats_label(slats),
        last_beat_at=worker.last_beat_at,
        version=worker.version,
        disk_free=size(worker.disk_free) if worker.disk_free else "–",
        note=_machine_note(worker, now),
        joined_at=worker.joined_at,
    )


def _busy(worker: Worker) -> int:
    return max(0, worker.slots - worker.free)


def _slats(worker: Worker) -> list[str]:
    if worker.state in ("lost", "silent"):
        return ["fail"] * worker.slots
    busy = _busy(worker)
    full = "drain" if worker.state == "draining" else "busy"
    return [full] * busy + (["room"] if worker.state == "draining" else ["idle"]) * (worker.slots - busy)


def _slats_label(slats: list[str]) -> str:
    words = {"busy": "busy", "idle": "idle", "drain": "draining", "fail": "silent or lost", "room": "closed"}
    counted = [f"{slats.count(kind)} {word}" for kind, word in words.items() if kind in slats]
    return f"Slots: {', '.join(counted)}" if counted else "No slots"


def _where(group: WorkerGroup, installation: Installation | None) -> str:
    if installation is None:
        return group.region
    provider = PROVIDERS.get(installation.provider, installation.provider)
    return f"{provider} {group.region}".strip()


def _mark(group: WorkerGroup, workers: list[Worker]) -> tuple[str, str]:
    if not group.enabled:
        return "na", "switched off"
    if not workers:
        return "warn", "no machine"
    silent = sum(worker.state == "silent" for worker in workers)
    if silent:
        return "warn", f"{silent} silent"
    return "", ""


def _why(group: WorkerGroup, workers: list[Worker], load: Load, slots: int, busy: int) -> str:
    if not group.enabled:
        return "Switched off: nothing new starts here"
    if not workers:
        return "No machine has joined; start a worker of this environment"
    if not slots:
        return "Every machine is silent or leaving; it goes on by itself when one is back"
    if busy >= slots:
        waiting = f"; {number(load.waiting)} waiting" if load.waiting else ""
        return f"{'Its only slot is' if slots == 1 else f'All {number(slots)} slots are'} busy{waiting}"
    free = slots - busy
    return f"{number(free)} of {number(slots)} slots {'is' if free == 1 else 'are'} free" if busy else "Nothing runs"


def _facts(group: WorkerGroup, installation: Installation | None) -> list[tuple[str, str]]:
    settings: dict[str, Any] = group.settings
    memory = settings.get("memory")
    found = [
        ("Slug", group.slug),
        ("Installation", installation.name if installation else ""),
        ("Flavour", installation.flavour.replace("_", " ") if installation else ""),
        ("Type", group.instance_type),
        ("GPU", group.gpu_spec),
        ("CPU", str(settings["cpu"]) if settings.get("cpu") else ""),
        ("Memory", size(memory) if isinstance(memory, (int, float)) else ""),
        ("Lost after", span(float(settings["lost_after"])) if settings.get("lost_after") else ""),
        ("Host network", "allowed" if settings.get("host_network") else ""),
    ]
    return [(name, text) for name, text in found if text]


def _machine_note(worker: Worker, now: datetime) -> str:
    if worker.state == "silent" and worker.silent_since:
        return f"Silent for {span((now - worker.silent_since).total_seconds())}"
    if abs(worker.clock_skew) > 5:
        return f"Its clock is {span(abs(worker.clock_skew))} {'ahead' if worker.clock_skew > 0 else 'behind'}"
    return "Takes nothing new, leaves when it is idle" if worker.state == "draining" else ""
