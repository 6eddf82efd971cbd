"""Which network addresses a URL that a user wrote may lead to. Pure, and one for both sides: nothing is looked up here.

Three kinds of addresses: those that no configuration opens (metadata services, link-local, unspecified, multicast),
those that are not public and may be opened by a list of networks (loopback, private, shared), and the public ones.
An IPv6 address that carries an IPv4 address inside is judged by the one inside.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def _networks(*texts: str) -> tuple[Network, ...]:
    return tuple(ipaddress.ip_network(text) for text in texts)


NEVER = _networks(
    "0.0.0.0/8",
    "169.254.0.0/16",
    "192.0.0.0/24",
    "224.0.0.0/4",
    "240.0.0.0/4",
    "100.100.100.200/32",
    "168.63.129.16/32",
    "::/128",
    "fe80::/10",
    "fec0::/10",
    "ff00::/8",
    "fd00:ec2::/32",
    "fd20:ce::254/128",
)
NOT_PUBLIC = _networks(
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "172.16.0.0/12",
    "192.0.2.0/24",
    "192.88.99.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "::1/128",
    "64:ff9b:1::/48",
    "100::/64",
    "2001::/23",
    "2001:db8::/32",
    "3fff::/20",
    "5f00::/16",
    "fc00::/7",
)
# The last 32 bits are an IPv4 address: mapped, translated, compatible, NAT64. 6to4 has it behind its first 16 bits.
CARRIERS = _networks("::ffff:0:0/96", "::ffff:0:0:0/96", "::/96", "64:ff9b::/96")
SIX_TO_FOUR = ipaddress.IPv6Network("2002::/16")
LONE = frozenset({ipaddress.IPv6Address("::"), ipaddress.IPv6Address("::1")})


def parse_networks(texts: Iterable[str]) -> tuple[Network, ...]:
    """Networks in CIDR notation, or single addresses. Raises ValueError naming the first that is none."""
    found: list[Network] = []
    for text in texts:
        try:
            found.append(ipaddress.ip_network(text.strip()))
        except ValueError as error:
            raise ValueError(f"{text.strip()!r} is no network; one looks like 10.0.0.0/8: {error}") from error
    return tuple(found)


def inner(address: str) -> IPAddress:
    """The address itself, or the IPv4 address that it carries; a zone is left out. Raises ValueError."""
    found: IPAddress = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv4Address) or found in LONE:
        return found
    if any(found in network for network in CARRIERS):
        return ipaddress.IPv4Address(int(found) & 0xFFFFFFFF)
    if found in SIX_TO_FOUR:
        return ipaddress.IPv4Address((int(found) >> 80) & 0xFFFFFFFF)
    return found


def is_never(address: str) -> bool:
    """Whether no configuration opens it. Raises ValueError for what is no address."""
    return _within(inner(address), NEVER)


def may_reach(address: str, allowed: Sequence[Network] = ()) -> bool:
    """Whether an address is public, or in an allowed network and no forbidden one. What is no address is refused."""
    try:
        found = inner(address)
    except ValueError:
        return False
    if _within(found, NEVER):
        return False
    return not _within(found, NOT_PUBLIC) or _within(found, allowed)


def _within(address: IPAddress, networks: Sequence[Network]) -> bool:
    return any(address in network for network in networks)
