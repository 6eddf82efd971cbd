"""HTTP for bytes: to signed addresses, and to addresses that users wrote, which must not reach everything.

A user's address is fetched by the agent, which stands closer to the machine than the user's container does:
the peer of each connection is looked at after connecting (so neither a redirect nor a changing name helps) and
link-local addresses (cloud metadata), this machine and unspecified or multicast ones are refused.
"""

from __future__ import annotations

import ipaddress
import ssl
from typing import Any

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from worker_bootstrap.agent.config import AgentConfig

METADATA_V6 = ipaddress.ip_network("fd00:ec2::/32")


class ForbiddenAddressError(urllib3.exceptions.HTTPError):
    """The address leads to a place that inputs may not come from."""


def forbidden(address: str, *, loopback: bool) -> bool:
    """Whether a peer address is out of bounds for users' addresses. `loopback`: this machine is allowed."""
    peer = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(peer, ipaddress.IPv6Address) and peer.ipv4_mapped:
        peer = peer.ipv4_mapped
    if peer.is_loopback:
        return not loopback
    if peer.is_link_local or peer.is_unspecified or peer.is_multicast:
        return True
    return isinstance(peer, ipaddress.IPv6Address) and peer in METADATA_V6


def _guarded(base: type[Any], loopback: bool) -> type[Any]:
    class Guarded(base):
        def _new_conn(self) -> Any:
            sock = super()._new_conn()
            if forbidden(sock.getpeername()[0], loopback=loopback):
                sock.close()
                raise ForbiddenAddressError(f"inputs may not come from {self.host}")
            return sock

    return Guarded


def signed_client(config: AgentConfig) -> urllib3.PoolManager:
    """For addresses that the master signed."""
    return _manager(config)


def input_client(config: AgentConfig) -> urllib3.PoolManager:
    """For addresses that users wrote. Behind a proxy, the proxy's rules count."""
    manager = _manager(config)
    if isinstance(manager, urllib3.ProxyManager):
        return manager

    class PlainPool(HTTPConnectionPool):
        ConnectionCls = _guarded(HTTPConnection, config.loopback_inputs)

    class SecurePool(HTTPSConnectionPool):
        ConnectionCls = _guarded(HTTPSConnection, config.loopback_inputs)

    manager.pool_classes_by_scheme = {"http": PlainPool, "https": SecurePool}
    return manager


def _manager(config: AgentConfig) -> urllib3.PoolManager:
    options: dict[str, Any] = {
        "timeout": urllib3.Timeout(connect=max(1.0, config.http_connect), read=max(1.0, config.http_timeout)),
        "retries": urllib3.Retry(total=None, connect=0, read=0, status=0, other=0, redirect=5),
        "maxsize": 8,
        "num_pools": 32,
        "ssl_context": ssl.create_default_context(cafile=config.ca_bundle or None),
    }
    if config.http_proxy:
        return urllib3.ProxyManager(config.http_proxy, **options)
    return urllib3.PoolManager(**options)
