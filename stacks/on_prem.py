"""The flavour `on_prem`: machines of one's own, led by a control plane elsewhere."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pulumi

from infra.onprem import plan as planning
from infra.onprem.plan import Machine, Plan, QueuePlan, StorePlan
from infra.onprem.preflight import PreflightError, Report, survey
from infra.onprem.release import ReleaseMissingError, open_now
from infra.onprem.remote import Access, Place, run_apart
from infra.onprem.resources import Handover, Host, Queue, Store, digest
from stacks.config.base import ConfigError
from stacks.config.choice import Choice
from stacks.config.common import Advanced
from stacks.config.ssh import Host as HostConfig
from stacks.config.ssh import OnPremSsh


def build(choice: Choice) -> pulumi.Input[dict[str, Any]]:
    """Look at every machine, then put queue, store and agents on them; gives back the installation document.

    Raises ConfigError.
    """
    refuse_advanced(choice.advanced)
    plan = plan_of(choice.settings)
    try:
        release = open_now(plan.release, plan.release_keys)
        plan = replace(plan, release=release.place, version=release.version)
        reports = run_apart(lambda: survey(planning.wanted(plan, release.architectures), time.time))
    except (PreflightError, ReleaseMissingError) as error:
        for line in str(error).splitlines():
            pulumi.log.error(line)
        sys.exit("Nothing was changed on any machine: remove the faults above, and run it again.")
    _warn(reports)
    return _resources(replace(plan, sources=planning.sources(plan, reports)))


def refuse_advanced(advanced: Advanced) -> None:
    """Nothing of it is read here, and what has no effect must not pass unseen. Raises ConfigError."""
    if advanced.model_fields_set:
        sentence = (
            "It has no effect on machines of one's own: set it on the machines themselves, and leave it out here."
        )
        raise ConfigError({f"advanced.{name}": sentence for name in sorted(advanced.model_fields_set)})


def plan_of(settings: OnPremSsh) -> Plan:
    """The plan of a configuration; what it leaves open is filled in. Reads HOME and REMORA_HOME, nothing else."""
    access = settings.access
    reached = Access(access.user, access.key, access.known_hosts, access.jump)
    machines = [
        Machine(Place(one.address, one.port or access.port, reached), one.group, one.slots, one.mounts, one.gpus)
        for one in settings.hosts
    ]
    first = settings.hosts[0]

    def place(host: str) -> Place:
        known: HostConfig | None = next((one for one in settings.hosts if one.address == (host or first.address)), None)
        return Place(host or first.address, (known.port if known else 0) or access.port, reached)

    queue, store = settings.queue, settings.store
    store_place = place(store.host)
    home = Path(os.environ.get("REMORA_HOME") or "~/.remora").expanduser()
    handover = Path(settings.handover).expanduser() if settings.handover else home / "installations" / settings.name
    return Plan(
        name=settings.name,
        dashboard=settings.master.dashboard,
        masters=settings.master.addresses,
        release=settings.release,
        release_keys=settings.master.release_keys,
        machines=machines,
        queue=QueuePlan(place(queue.host), queue.address or place(queue.host).address, queue.port, queue.allowed),
        store=StorePlan(
            store.kind,
            store_place,
            store.address or store_place.address,
            store.port,
            store.path,
            store.endpoint,
            store.bucket,
            store.credentials,
        ),
        handover=str(handover),
    )


def _warn(reports: list[Report]) -> None:
    for report in reports:
        for one in report.outcomes:
            if one.level == "warn":
                pulumi.log.warn(f"{report.place.name}: {one.sentence}: {one.remedy}")


def _resources(plan: Plan) -> dict[str, Any]:
    queue = Queue("queue", _whole(planning.queue_props(plan)))
    made: list[pulumi.Resource] = [queue]
    if plan.store.is_own:
        made.append(Store("store", _whole(planning.store_props(plan)), pulumi.ResourceOptions(depends_on=[queue])))
    needs = pulumi.ResourceOptions(depends_on=made)
    for machine in plan.machines:
        Host(machine.place.name, _whole(planning.host_props(plan, machine)), needs)
    Handover("handover", _whole(planning.handover_props(plan)), needs)
    return planning.document(plan).model_dump(mode="json")


def _whole(props: dict[str, Any]) -> dict[str, Any]:
    return {**props, "digest": digest(planning.compared(props))}


BUILDERS = {"ssh": build}
