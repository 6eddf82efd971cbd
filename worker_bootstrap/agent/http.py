"""HTTP for bytes: to signed addresses, and to addresses that users wrote, which must not reach everything.

A user's address is fetched by the agent, which stands closer to the machine than the user's container does: each name
is looked up once, every address of it is judged, and the connection goes to what was judged (so neither a redirect nor
a changing name helps). Metadata services, link-local, unspecified and multicast addresses are always refused, this
machine unless agent.json allows it; where agent.json names networks, everything else that is not public as well.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Sequence
from typing import Any

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from worker_bootstrap.agent.config import AgentConfig
from worker_bootstrap.protocol.reach import Network, inner, is_never, may_reach, parse_networks

MOST_REDIRECTS = 3
# Bytes of a body that are read and sent at a time; the library's own 16 KiB cost more in steps than in bytes.
BLOCK = 1 << 20
Refuses = Callable[[str], bool]


class ForbiddenAddressError(urllib3.exceptions.HTTPError):
    """The address leads to a place that inputs may not come from."""


def forbidden(address: str, *, loopback: bool, networks: Sequence[Network] = ()) -> bool:
    """Whether an address is out of bounds for users' addresses.

    `loopback`: this machine is allowed. `networks`: the only ones that need not be public; none named: all of them.
    """
    peer = inner(address)
    if is_never(address):
        return True
    if peer.is_loopback:
        return not loopback
    return bool(networks) and not may_reach(address, networks)


def _guarded(base: type[Any], refuses: Refuses) -> type[Any]:
    class Guarded(base):
        def _new_conn(self) -> Any:
            name = self._dns_host
            found = _addresses(self, name)
            if any(refuses(address) for address in found):
                raise ForbiddenAddressError(f"inputs may not come from {self.host}")
            try:
                return self._first_of(found)
            finally:
                self._dns_host = name

        def _first_of(self, found: list[str]) -> Any:
            """A connection to the first that answers; urllib3 looks an address up, which gives itself."""
            for address in found[:-1]:
                self._dns_host = address
                try:
                    return super()._new_conn()
                except urllib3.exceptions.HTTPError:
                    continue
            self._dns_host = found[-1]
            return super()._new_conn()

    return Guarded


def _addresses(connection: Any, name: str) -> list[str]:
    """What the name leads to, in the resolver's order. Raises NameResolutionError."""
    try:
        answers = socket.getaddrinfo(name.strip("[]"), connection.port, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        raise urllib3.exceptions.NameResolutionError(name, connection, error) from error
    except UnicodeError as error:
        raise urllib3.exceptions.LocationParseError(name) from error
    return list(dict.fromkeys(str(answer[4][0]) for answer in answers))


def signed_client(config: AgentConfig) -> urllib3.PoolManager:
    """For addresses that the master signed. Where a store is may be a user's word: never at a metadata service."""
    return _careful(_manager(config), is_never)


def input_client(config: AgentConfig) -> urllib3.PoolManager:
    """For addresses that users wrote. Behind a proxy, the proxy's rules count."""
    networks = parse_networks(config.input_networks)
    return _careful(
        _manager(config), lambda address: forbidden(address, loopback=config.loopback_inputs, networks=networks)
    )


def _careful(manager: urllib3.PoolManager, refuses: Refuses) -> urllib3.PoolManager:
    if isinstance(manager, urllib3.ProxyManager):
        return manager

    class PlainPool(HTTPConnectionPool):
        ConnectionCls = _guarded(HTTPConnection, refuses)

    class SecurePool(HTTPSConnectionPool):
        ConnectionCls = _guarded(HTTPSConnection, refuses)

    manager.pool_classes_by_scheme = {"http": PlainPool, "https": SecurePool}
    return manager


def _trust(config: AgentConfig) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=config.ca_bundle or None)
    if config.store_ca:
        context.load_verify_locations(config.store_ca)
    return context


def _manager(config: AgentConfig) -> urllib3.PoolManager:
    options: dict[str, Any] = {
        "timeout": urllib3.Timeout(connect=max(1.0, config.http_connect), read=max(1.0, config.http_timeout)),
        "retries": urllib3.Retry(total=None, connect=0, read=0, status=0, other=0, redirect=MOST_REDIRECTS),
        "maxsize": 8,
        "num_pools": 32,
        "blocksize": BLOCK,
        "ssl_context": _trust(config),
    }
    if config.http_proxy:
        return urllib3.ProxyManager(config.http_proxy, **options)
    return urllib3.PoolManager(**options)
