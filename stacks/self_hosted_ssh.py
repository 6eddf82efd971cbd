"""Self-hosted on machines of one's own, the control plane on one of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pulumi

from infra.onprem.plan import MasterPlan, Plan
from infra.onprem.release import keys_here
from infra.onprem.remote import Place
from stacks import on_hosts
from stacks.config.base import ConfigError
from stacks.config.choice import Choice
from stacks.config.ssh import SelfHostedSsh

HANDOVER = "/etc/remora-server/installation"
FILES = ("certificate", "key", "database")


def build(choice: Choice) -> pulumi.Input[dict[str, Any]]:
    """Put queue, store, control plane and agents on the machines; gives back the installation document.

    Raises ConfigError.
    """
    return on_hosts.build(choice, plan_of)


def master_place(settings: SelfHostedSsh) -> Place:
    """The control plane's machine. Pure."""
    return on_hosts.place_of(settings, settings.master_host)


def plan_of(settings: SelfHostedSsh) -> Plan:
    """The plan of a configuration; what it leaves open is filled in. Raises ConfigError, ReleaseMissingError."""
    parts = urlsplit(settings.dashboard)
    files = {name: getattr(settings, name).removeprefix("file:") for name in FILES}
    read = [_changed(name, path) for name, path in files.items() if path]
    master = MasterPlan(master_place(settings), name=parts.hostname or "", port=parts.port or 443, read=read, **files)
    return Plan(
        name=settings.name,
        dashboard=settings.dashboard,
        masters=[],
        release=settings.release,
        release_keys=settings.release_keys or keys_here(),
        machines=on_hosts.machines_of(settings),
        queue=on_hosts.queue_of(settings),
        store=on_hosts.store_of(settings),
        handover=HANDOVER,
        master=master,
    )


def _changed(name: str, path: str) -> int:
    """When a file changed, in nanoseconds: its content is no input, yet a new one is put there. Raises ConfigError."""
    try:
        return Path(path).expanduser().stat().st_mtime_ns
    except OSError as error:
        raise ConfigError({f"self_hosted.{name}": f"{path} can't be read ({error.strerror}): name a file."}) from error
