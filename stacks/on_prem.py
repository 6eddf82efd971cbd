"""The flavour `on_prem`: machines of one's own, led by a control plane elsewhere."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pulumi

from infra.onprem.plan import Plan
from stacks import on_hosts
from stacks.config.choice import Choice
from stacks.config.ssh import OnPremSsh


def build(choice: Choice) -> pulumi.Input[dict[str, Any]]:
    """Put queue, store and agents on the machines; gives back the installation document. Raises ConfigError."""
    return on_hosts.build(choice, plan_of)


def plan_of(settings: OnPremSsh) -> Plan:
    """The plan of a configuration; what it leaves open is filled in. Reads HOME and REMORA_HOME, nothing else."""
    home = Path(os.environ.get("REMORA_HOME") or "~/.remora").expanduser()
    handover = Path(settings.handover).expanduser() if settings.handover else home / "installations" / settings.name
    return Plan(
        name=settings.name,
        dashboard=settings.master.dashboard,
        masters=settings.master.addresses,
        release=settings.release,
        release_keys=settings.master.release_keys,
        machines=on_hosts.machines_of(settings),
        queue=on_hosts.queue_of(settings),
        store=on_hosts.store_of(settings),
        handover=str(handover),
    )


BUILDERS = {"ssh": build}
