"""From a name to the addresses that may be connected to: looked up once, each of them judged."""

from __future__ import annotations

import ipaddress
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from controlplane.net.errors import AddressRefusedError
from controlplane.net.urls import check_host, is_address
from controlplane.settings import Settings
from worker_bootstrap.protocol.reach import Network, may_reach, parse_networks

Resolver = Callable[[str, int], list[str]]
LOOK_UP_SECONDS = 10.0
MOST_ADDRESSES = 16


def system_resolver(host: str, port: int) -> list[str]:
    """What the machine's resolver says, in its order; nothing when it says nothing within some seconds."""
    found: list[str] = []

    def look_up() -> None:
        try:
            answers = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            return
        found.extend(dict.fromkeys(str(answer[4][0]) for answer in answers))

    thread = threading.Thread(target=look_up, name="look-up", daemon=True)
    thread.start()
    thread.join(LOOK_UP_SECONDS)
    return list(found)


@dataclass(frozen=True)
class Reach:
    """What may be reached: public addresses, and those of the allowed networks."""

    allowed: tuple[Network, ...] = ()
    resolver: Resolver = field(default=system_resolver)

    @classmethod
    def from_settings(cls, settings: Settings) -> Reach:
        """By `REMORA_ALLOWED_NETWORKS`. Raises ValueError."""
        return cls(parse_networks(text for text in settings.allowed_networks.split(",") if text.strip()))

    @classmethod
    def everywhere(cls) -> Reach:
        """For addresses that the operator named, or a cloud's own: none is a user's."""
        return cls(parse_networks(["0.0.0.0/0", "::/0"]))

    def addresses(self, host: str, port: int) -> list[str]:
        """Addresses of a host, in the order to try. The caller connects to these and asks no resolver again.

        Raises AddressRefusedError: one bad address among good ones spoils them all, and a name that leads nowhere
        reads like one that leads inside, so that nobody can list the names of this network.
        """
        host = check_host(host)
        found = [host] if is_address(host) else self.resolver(host, port)[:MOST_ADDRESSES]
        if not found or not all(may_reach(address, self.allowed) for address in found):
            raise AddressRefusedError(
                f"{host[:80]} has no address that may be used from here; a network inside is opened by "
                "REMORA_ALLOWED_NETWORKS, by whoever runs this server."
            )
        return [str(ipaddress.ip_address(address.partition("%")[0])) for address in found]
