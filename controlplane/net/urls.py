"""Addresses as users write them, taken apart and judged by their form. Pure; where a name leads is looked up later."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Set
from dataclasses import dataclass
from urllib.parse import urlsplit

from controlplane.net.errors import AddressRefusedError

WEB = frozenset({"http", "https"})
PORTS = {"http": 80, "https": 443, "ssh": 22}
LONGEST = 2048
NAME = re.compile(r"(?=.{1,253}\Z)([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
# Old C libraries read these as IPv4 addresses: 127.1, 0x7f000001, 017700000001, 2130706433.
NUMBER = re.compile(r"(0x[0-9a-f]*|[0-9]+)")


@dataclass(frozen=True)
class Target:
    """Where an address leads. `user` is that of ssh; `path` is everything after host and port."""

    scheme: str
    host: str
    port: int
    path: str
    user: str = ""


def parse_url(text: str, schemes: Set[str] = WEB, *, with_user: bool = False) -> Target:
    """The parts of an address. Raises AddressRefusedError for another scheme, a password in it, or an odd host."""
    if len(text) > LONGEST or not text.isascii() or any(ord(char) <= 32 or ord(char) == 127 for char in text):
        raise AddressRefusedError(f"An address has at most {LONGEST} letters of ASCII and no blanks.")
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise AddressRefusedError("This is no address: its host or its port can't be read.") from None
    if parts.scheme not in schemes:
        raise AddressRefusedError(f"The address must begin with {' or '.join(f'{s}://' for s in sorted(schemes))}.")
    if parts.password is not None or (parts.username is not None and not with_user):
        raise AddressRefusedError("The address has a name or password in it; take it out, and give it apart.")
    if "\\" in text:
        raise AddressRefusedError("The address has a backslash in it.")
    path = parts.path + (f"?{parts.query}" if parts.query else "")
    return Target(
        parts.scheme, check_host(parts.hostname or ""), port or PORTS[parts.scheme], path, parts.username or ""
    )


def check_host(host: str) -> str:
    """A name or a plainly written IP address, in small letters. Raises AddressRefusedError."""
    host = host.lower().removesuffix(".")
    if is_address(host):
        return host
    if not NAME.fullmatch(host) or NUMBER.fullmatch(host.rpartition(".")[2]):
        raise AddressRefusedError(f"{host[:80]!r} is no host name, and no IP address in its plain form.")
    return host


def is_address(host: str) -> bool:
    """Whether it is an IP address, without a zone."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return "%" not in host
