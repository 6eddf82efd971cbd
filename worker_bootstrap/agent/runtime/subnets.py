"""Which subnet and which interface name an attempt's bridge gets. Pure."""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Network

DEFAULT_POOL = IPv4Network("10.231.0.0/16")
PREFIX = 28


def bridge_name(attempt: str) -> str:
    """Interface of an attempt's bridge: `rm` and 12 hex digits (the kernel allows 15 characters)."""
    return f"rm{hashlib.sha256(attempt.encode()).hexdigest()[:12]}"


def free_subnets(pool: IPv4Network, taken: Iterable[IPv4Network], start: int = 0) -> Iterator[IPv4Network]:
    """Subnets of `pool` that overlap none of `taken`, from the `start`-th on and round to it."""
    used = sorted({net for net in taken if net.overlaps(pool)})
    count = 1 << (PREFIX - pool.prefixlen)
    base = int(pool.network_address)
    for step in range(count):
        address = base + ((start + step) % count << (32 - PREFIX))
        subnet = IPv4Network((address, PREFIX))
        if not any(subnet.overlaps(other) for other in used):
            yield subnet


def gateway_of(subnet: IPv4Network) -> str:
    """First host address of a subnet."""
    return str(subnet.network_address + 1)


def parse_routes(text: str) -> list[IPv4Network]:
    """Networks of /proc/net/route, the default route left out."""
    routes = []
    for line in text.splitlines()[1:]:
        fields = line.split()
        if len(fields) < 8 or fields[1] == "00000000":
            continue
        address, mask = _address(fields[1]), _address(fields[7])
        routes.append(ipaddress.IPv4Network(f"{address}/{mask}", strict=False))
    return routes


def default_interface(text: str) -> str:
    """Interface of the default route in /proc/net/route with the smallest metric, or empty."""
    defaults = [line.split() for line in text.splitlines()[1:] if line.split()[1:2] == ["00000000"]]
    return min(defaults, key=lambda fields: int(fields[6]))[0] if defaults else ""


def _address(reversed_hex: str) -> ipaddress.IPv4Address:
    return ipaddress.IPv4Address(bytes.fromhex(reversed_hex)[::-1])
