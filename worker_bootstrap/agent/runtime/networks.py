"""One bridge network with NAT per attempt."""

from __future__ import annotations

import ipaddress
import random
import threading
from dataclasses import dataclass
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

from docker.types import IPAMConfig, IPAMPool

from worker_bootstrap.agent.runtime.base import NetworkError
from worker_bootstrap.agent.runtime.client import EngineClient, NotThereError, RefusedError
from worker_bootstrap.agent.runtime.subnets import (
    DEFAULT_POOL,
    bridge_name,
    default_interface,
    free_subnets,
    gateway_of,
    parse_routes,
)

ROUTES = Path("/proc/net/route")
TRIES = 64


@dataclass(frozen=True)
class Network:
    """An attempt's network as the engine has it."""

    attempt: str
    name: str
    bridge: str
    gateway: str


class Networks:
    """Makes, finds and removes the networks of attempts."""

    def __init__(self, client: EngineClient, labels: dict[str, str], pool: IPv4Network = DEFAULT_POOL) -> None:
        self._client = client
        self._labels = labels
        self.pool = pool
        self._lock = threading.Lock()

    def ensure(self, attempt: str) -> Network:
        """The attempt's network, made if there is none. Raises NetworkError."""
        with self._lock:
            return self.find(attempt) or self._create(attempt)

    def find(self, attempt: str) -> Network | None:
        """The attempt's network if there is one."""
        name = network_name(attempt)
        found = self._client.call(lambda api: api.networks(names=[name]))
        for entry in found:
            if entry["Name"] == name:
                return Network(attempt, name, bridge_name(attempt), str(entry["IPAM"]["Config"][0]["Gateway"]))
        return None

    def remove(self, attempt: str) -> None:
        """Take the network away; nothing happens if there is none."""
        try:
            self._client.call(lambda api: api.remove_network(network_name(attempt)))
        except NotThereError:
            return

    def attempts(self) -> set[str]:
        """Attempts of our labels that have a network."""
        filters = {"label": [f"{name}={value}" for name, value in self._labels.items()]}
        found = self._client.call(lambda api: api.networks(filters=filters))
        return {entry["Labels"].get("remora.attempt", "") for entry in found} - {""}

    def _create(self, attempt: str) -> Network:
        routes = ROUTES.read_text()
        taken = [*self._engine_subnets(), *parse_routes(routes)]
        options = {"com.docker.network.bridge.name": bridge_name(attempt)}
        mtu = _mtu(default_interface(routes))
        if mtu:
            options["com.docker.network.driver.mtu"] = mtu
        # A random start: two agents on one engine rarely want the same subnet, and the engine refuses overlaps.
        candidates = free_subnets(self.pool, taken, start=random.randrange(4096))  # noqa: S311
        for _, subnet in zip(range(TRIES), candidates, strict=False):
            if self._try(attempt, subnet, options):
                return Network(attempt, network_name(attempt), bridge_name(attempt), gateway_of(subnet))
        raise NetworkError(f"no free subnet in {self.pool} for the attempt's bridge: remove unused docker networks")

    def _try(self, attempt: str, subnet: IPv4Network, options: dict[str, str]) -> bool:
        ipam = IPAMConfig(pool_configs=[IPAMPool(subnet=str(subnet), gateway=gateway_of(subnet))])
        labels = {**self._labels, "remora.attempt": attempt}
        try:
            self._client.call(
                lambda api: api.create_network(
                    network_name(attempt),
                    driver="bridge",
                    options=options,
                    ipam=ipam,
                    check_duplicate=True,
                    enable_ipv6=False,
                    labels=labels,
                )
            )
        except RefusedError as error:
            if "overlap" in str(error) or "conflicts with network" in str(error):
                return False
            raise NetworkError(f"the engine makes no network for the attempt: {error}") from error
        return True

    def _engine_subnets(self) -> list[IPv4Network]:
        taken = []
        for entry in self._client.call(lambda api: api.networks()):
            for config in (entry.get("IPAM") or {}).get("Config") or []:
                subnet = _subnet(config)
                if subnet is not None:
                    taken.append(subnet)
        return taken


def network_name(attempt: str) -> str:
    """Name of an attempt's network."""
    return f"remora-{attempt}"


def _subnet(config: dict[str, Any]) -> IPv4Network | None:
    try:
        return ipaddress.IPv4Network(config.get("Subnet", ""), strict=False)
    except ValueError:
        return None


def _mtu(interface: str) -> str:
    """The way out may carry less than the bridge's 1500: connections would then hang on large packets."""
    try:
        return (Path("/sys/class/net") / interface / "mtu").read_text().strip() if interface else ""
    except OSError:
        return ""
