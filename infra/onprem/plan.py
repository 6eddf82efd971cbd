"""What stands on which machine, as plain values: the resources' inputs and the installation document. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from infra.installation import GroupSpec, InstallationDocument, QueueSpec, StoreSpec
from infra.onprem.handover import STORE_FILE
from infra.onprem.preflight import Report, Wanted
from infra.onprem.remote import Place

PURPOSES = ("code", "releases", "logs", "data")


@dataclass(frozen=True)
class Machine:
    """A machine that runs executions."""

    place: Place
    group: str
    slots: int = 1
    mounts: Sequence[str] = ()
    gpus: Sequence[str] = ()


@dataclass(frozen=True)
class QueuePlan:
    """`address` is what workers and master call it; `allowed`: further networks that may come in."""

    place: Place
    address: str
    port: int
    allowed: Sequence[str] = ()


@dataclass(frozen=True)
class StorePlan:
    """kind versitygw | s3 | folder; `credentials` is the file of an existing S3's two lines."""

    kind: str
    place: Place
    address: str
    port: int
    path: str
    endpoint: str = ""
    bucket: str = ""
    credentials: str = ""

    @property
    def is_own(self) -> bool:
        """Whether the installer makes it."""
        return self.kind == "versitygw"


@dataclass(frozen=True)
class MasterPlan:
    """The control plane on a machine of the installation.

    `certificate`, `key`, `database` are files of the installer's machine, or empty; `read` tells when they changed.
    """

    place: Place
    name: str
    port: int
    certificate: str = ""
    key: str = ""
    database: str = ""
    read: Sequence[int] = ()


@dataclass(frozen=True)
class Plan:
    """An installation; `masters`: networks that a control plane elsewhere comes from, `master` the one in it.

    `handover`: folder of what the document refers to, on the control plane's machine.
    """

    name: str
    dashboard: str
    masters: Sequence[str]
    release: str
    release_keys: Sequence[str]
    machines: Sequence[Machine]
    queue: QueuePlan
    store: StorePlan
    handover: str
    master: MasterPlan | None = None
    version: str = ""
    sources: Sequence[str] = field(default_factory=tuple)

    @property
    def groups(self) -> list[str]:
        """Worker groups, in the order of the machines."""
        return list(dict.fromkeys(machine.group for machine in self.machines))

    def bucket(self, purpose: str) -> str:
        """Name of an own bucket."""
        return f"{self.name}-{purpose}"


def wanted(plan: Plan, architectures: Sequence[str], servers: Sequence[str] = ()) -> dict[Place, Wanted]:
    """What preflight looks for, by machine. `servers`: for which machines the release carries the control plane."""
    reaches = [(plan.queue.address, plan.queue.port)]
    if plan.store.is_own:
        reaches.append((plan.store.address, plan.store.port))
    places = dict.fromkeys([machine.place for machine in plan.machines])
    places |= dict.fromkeys([plan.queue.place] + ([plan.store.place] if plan.store.is_own else []))
    master = plan.master
    if master:
        places[master.place] = None
    by_place = {machine.place: machine for machine in plan.machines}
    found: dict[Place, Wanted] = {}
    for place in places:
        machine = by_place.get(place)
        listens = {"remora-queue": plan.queue.port} if place == plan.queue.place else {}
        if plan.store.is_own and place == plan.store.place:
            listens["remora-store"] = plan.store.port
        is_master = master is not None and place == master.place
        if master is not None and is_master:
            listens["remora-server"] = master.port
        found[place] = Wanted(
            plan.name,
            architectures,
            machine.mounts if machine else (),
            machine.gpus if machine else (),
            reaches,
            listens,
            runs_agent=machine is not None,
            servers=servers if is_master else None,
        )
    return found


def sources(plan: Plan, reports: Sequence[Report]) -> list[str]:
    """Networks of one address that machines, and a control plane on one of them, reach the queue from."""
    running = {machine.place for machine in plan.machines} | ({plan.master.place} if plan.master else set())
    found = [report.facts["source"] for report in reports if report.place in running and report.facts.get("source")]
    return sorted({f"{one}/{128 if ':' in one else 32}" for one in found})


def common(plan: Plan, place: Place) -> dict[str, Any]:
    """Inputs that every resource has."""
    return {
        "installation": plan.name,
        "where": place.name,
        "place": place.plain(),
        "version": plan.version,
        "release": plan.release,
        "release_keys": list(plan.release_keys),
    }


def queue_props(plan: Plan) -> dict[str, Any]:
    """Inputs of the queue."""
    allowed = sorted({*plan.masters, *plan.sources, *plan.queue.allowed})
    own = {"address": plan.queue.address, "port": plan.queue.port, "allowed": allowed}
    return {**common(plan, plan.queue.place), **own}


def store_props(plan: Plan) -> dict[str, Any]:
    """Inputs of an own store."""
    store = plan.store
    own = {"address": store.address, "port": store.port, "path": store.path, "queue": plan.queue.place.plain()}
    own |= {"buckets": [plan.bucket(purpose) for purpose in PURPOSES], "origin": plan.dashboard}
    return {**common(plan, store.place), **own}


def host_props(plan: Plan, machine: Machine) -> dict[str, Any]:
    """Inputs of a machine that runs executions."""
    queue = {"place": plan.queue.place.plain(), "address": plan.queue.address, "port": plan.queue.port}
    own = {"name": machine.place.address, "group": machine.group, "slots": machine.slots, "queue": queue}
    own |= {"mounts": list(machine.mounts), "gpus": list(machine.gpus), "own_stores": plan.store.is_own}
    return {**common(plan, machine.place), **own}


def handover_props(plan: Plan) -> dict[str, Any]:
    """Inputs of the handover."""
    own = {"installation": plan.name, "where": plan.handover, "folder": plan.handover, "version": ""}
    return {**own, **_secret_places(plan)}


def master_props(plan: Plan, master: MasterPlan) -> dict[str, Any]:
    """Inputs of the control plane."""
    own = {"name": master.name, "port": master.port, "dashboard": plan.dashboard, "read": list(master.read)}
    own |= {"certificate": master.certificate, "key": master.key, "database": master.database}
    return {**common(plan, master.place), **own, **_secret_places(plan), "document": document(plan).model_dump_json()}


def _secret_places(plan: Plan) -> dict[str, Any]:
    """Where the secrets are that the document refers to."""
    return {
        "queue": plan.queue.place.plain(),
        "groups": plan.groups,
        "store": plan.store.place.plain() if plan.store.is_own else {},
        "store_credentials": plan.store.credentials.removeprefix("file:") if plan.store.kind == "s3" else "",
    }


def compared(props: Mapping[str, Any]) -> dict[str, Any]:
    """What makes two configurations differ: not where the release lies on the installer's machine."""
    return {name: value for name, value in props.items() if name not in ("release", "version")}


def document(plan: Plan) -> InstallationDocument:
    """What the control plane imports; its secrets are references to the files of the handover."""
    folder = plan.handover
    return InstallationDocument(
        name=plan.name,
        flavour="self_hosted" if plan.master else "on_prem",
        provider="ssh",
        queue=QueueSpec(
            url=f"rediss://{plan.queue.address}:{plan.queue.port}/0",
            password=f"file:{folder}/queue-password",
            ca=f"{folder}/ca.pem",
            certificate=f"{folder}/master.pem",
            key=f"{folder}/master.key",
        ),
        stores=[_store(plan, purpose) for purpose in PURPOSES],
        groups=[_group(plan, group) for group in plan.groups],
    )


def _store(plan: Plan, purpose: Any) -> StoreSpec:
    store, reference = plan.store, f"file:{plan.handover}/{STORE_FILE}"
    if store.kind == "folder":
        return StoreSpec(name=purpose, purpose=purpose, kind="folder", location=f"{store.path}/{purpose}")
    if store.kind == "s3":
        place, options = f"s3://{store.bucket}/{plan.name}/{purpose}", {"endpoint_url": store.endpoint}
        return StoreSpec(
            name=purpose, purpose=purpose, kind="s3", location=place, options=options, credentials=reference
        )
    return StoreSpec(
        name=purpose,
        purpose=purpose,
        kind="s3",
        location=f"s3://{plan.bucket(purpose)}",
        options={"endpoint_url": f"https://{store.address}:{store.port}"},
        credentials=reference,
        ca=f"{plan.handover}/ca.pem",
    )


def _group(plan: Plan, group: str) -> GroupSpec:
    machines = [machine for machine in plan.machines if machine.group == group]
    # Machines that stand where they stand: as many as there are, no more and no fewer.
    return GroupSpec(
        slug=group,
        name=group,
        description=f"{len(machines)} own machines",
        gpu_spec="GPU" if any(machine.gpus for machine in machines) else "",
        scale_min=len(machines),
        scale_max=len(machines),
        join_secret=f"file:{plan.handover}/group-{group}",
    )
