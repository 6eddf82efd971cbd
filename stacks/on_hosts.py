"""What both flavours on machines of one's own have in common: every machine is looked at, then things are put there."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pulumi

from infra.onprem import plan as planning
from infra.onprem.plan import Machine, Plan, QueuePlan, StorePlan
from infra.onprem.preflight import PreflightError, Report, survey
from infra.onprem.release import ReleaseMissingError, open_now
from infra.onprem.remote import Access, Place, run_apart
from infra.onprem.resources import Handover, Host, Master, Queue, Store, digest
from stacks.config.base import ConfigError
from stacks.config.choice import Choice
from stacks.config.common import Advanced
from stacks.config.ssh import SshInstallation


def build(choice: Choice, plan_of: Callable[[Any], Plan]) -> dict[str, Any]:
    """Look at every machine, then put on them what is planned; gives back the installation document.

    Raises ConfigError.
    """
    refuse_advanced(choice.advanced)
    try:
        plan = plan_of(choice.settings)
        release = open_now(plan.release, plan.release_keys)
        plan = replace(plan, release=release.place, version=release.version)
        wanted = planning.wanted(plan, release.architectures, release.servers)
        reports = run_apart(lambda: survey(wanted, time.time))
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


def place_of(settings: SshInstallation, host: str) -> Place:
    """The machine of this address; the first one for an empty address. Pure."""
    access = settings.access
    address = host or settings.hosts[0].address
    known = next((one for one in settings.hosts if one.address == address), None)
    reached = Access(access.user, access.key, access.known_hosts, access.jump)
    return Place(address, (known.port if known else 0) or access.port, reached)


def machines_of(settings: SshInstallation) -> list[Machine]:
    """The machines that run executions. Pure."""
    access = settings.access
    reached = Access(access.user, access.key, access.known_hosts, access.jump)
    return [
        Machine(Place(one.address, one.port or access.port, reached), one.group, one.slots, one.mounts, one.gpus)
        for one in settings.hosts
    ]


def queue_of(settings: SshInstallation) -> QueuePlan:
    """The queue, with its place and its name filled in. Pure."""
    queue = settings.queue
    place = place_of(settings, queue.host)
    return QueuePlan(place, queue.address or place.address, queue.port, queue.allowed)


def store_of(settings: SshInstallation) -> StorePlan:
    """The store, with its place and its name filled in. Pure."""
    store = settings.store
    place = place_of(settings, store.host)
    address = store.address or place.address
    own = (store.kind, place, address, store.port, store.path)
    return StorePlan(*own, store.endpoint, store.bucket, store.credentials)


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
    if plan.master:
        Master("master", _whole(planning.master_props(plan, plan.master)), needs)
    else:
        Handover("handover", _whole(planning.handover_props(plan)), needs)
    return planning.document(plan).model_dump(mode="json")


def _whole(props: dict[str, Any]) -> dict[str, Any]:
    return {**props, "digest": digest(planning.compared(props))}
