"""Pulumi's resources of an installation on plain machines.

Pulumi keeps a pickle of each provider in its state: so the class is thin and loads its logic when it runs. Inputs and
outputs hold no secret, only where machines and files are.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from importlib import import_module
from typing import Any

import pulumi
from pulumi.dynamic import CreateResult, DiffResult, Resource, ResourceProvider, UpdateResult

# What is compared; everything else (where the release lies here, for instance) changes nothing on a machine.
COMPARED = ("version", "digest")
LOGIC = {"host": "hosts", "queue": "queue", "store": "store", "handover": "handover", "master": "master"}


class MachineProvider(ResourceProvider):
    """One kind of thing on one machine."""

    serialize_as_secret_always = False

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def diff(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> DiffResult:
        """An update when version or configuration differ, a new one when it moved to another machine."""
        changed = [name for name in COMPARED if _olds.get(name) != _news.get(name)]
        moved = _olds.get("where") != _news.get("where")
        lost = self.kind == "handover" and not _module(self.kind).is_whole(_olds)
        return DiffResult(bool(changed or moved or lost), ["where"] if moved else [], [], True)

    def create(self, props: dict[str, Any]) -> CreateResult:
        """Put it there."""
        outputs = _run(self.kind, "apply", props)
        return CreateResult(f"{props['installation']}/{self.kind}/{props['where']}", outputs)

    def update(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> UpdateResult:
        """Bring it up to the new inputs."""
        return UpdateResult(_run(self.kind, "apply", _news))

    def delete(self, _id: str, _props: dict[str, Any]) -> None:
        """Take it away."""
        _run(self.kind, "remove", _props)


class Host(Resource, module="onprem", name="Host"):
    """A machine that runs executions."""

    def __init__(self, name: str, props: Mapping[str, Any], opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(MachineProvider("host"), name, dict(props), opts)


class Queue(Resource, module="onprem", name="Queue"):
    """The workers' queue."""

    def __init__(self, name: str, props: Mapping[str, Any], opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(MachineProvider("queue"), name, dict(props), opts)


class Store(Resource, module="onprem", name="Store"):
    """The installation's own object store."""

    def __init__(self, name: str, props: Mapping[str, Any], opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(MachineProvider("store"), name, dict(props), opts)


class Handover(Resource, module="onprem", name="Handover"):
    """The files for the master, on the machine where the installer runs."""

    def __init__(self, name: str, props: Mapping[str, Any], opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(MachineProvider("handover"), name, dict(props), opts)


class Master(Resource, module="onprem", name="Master"):
    """The control plane."""

    def __init__(self, name: str, props: Mapping[str, Any], opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(MachineProvider("master"), name, dict(props), opts)


def digest(props: Mapping[str, Any]) -> str:
    """Names a configuration. Pure."""
    return hashlib.sha256(json.dumps(props, sort_keys=True).encode()).hexdigest()[:32]


def _module(kind: str) -> Any:
    return import_module(f"infra.onprem.{LOGIC[kind]}")


def _run(kind: str, work: str, props: dict[str, Any]) -> dict[str, Any]:
    """All outputs: the inputs and what the machine added."""
    remote = import_module("infra.onprem.remote")
    plain = {name: value for name, value in props.items() if not name.startswith("__")}
    added = remote.run_apart(lambda: getattr(_module(kind), work)(plain))
    return {**plain, **(added or {})}
