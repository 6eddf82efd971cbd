"""The workers' queue on one machine: its program, its secrets and its fence are made there and stay there."""

from __future__ import annotations

from typing import Any

from infra.onprem.putting import claim, package, release_of
from infra.onprem.remote import Place, Session, connected
from infra.onprem.service import Service

SERVICE = Service("queue", "/opt/remora-queue")


async def apply(props: dict[str, Any]) -> dict[str, Any]:
    """Install it or bring it up to `props`. Raises RemoteError, ReleaseMissingError."""
    async with connected(Place.of(props["place"])) as session:
        await claim(session, "queue", props["installation"])
        await package(session, "redis-server", "redis-server", "redis-server.service")
        await SERVICE.carry_agent(session, release_of(props))
        wanted = {
            "name": props["installation"],
            "address": props["address"],
            "port": int(props["port"]),
            "allowed": list(props["allowed"]),
        }
        await ask(session, "queue", wanted)
    return {}


async def remove(props: dict[str, Any]) -> None:
    """Take it away, if this installation made it. Raises RemoteError."""
    await SERVICE.remove(props)


async def join_credential(place: Place, request: dict[str, Any]) -> str:
    """A machine's join credential: a secret, made on the queue's machine, in memory only here. Raises RemoteError."""
    async with connected(place) as session:
        return await ask(session, "credential", request)


async def ask(session: Session, order: str, request: dict[str, Any]) -> Any:
    """What the queue's machine answers. Raises RemoteError."""
    return await SERVICE.order(session, order, request)


async def sign(place: Place, request: str, name: str) -> dict[str, str]:
    """`certificate` and `ca` (PEM) for a request, by the installation's authority. Raises RemoteError."""
    async with connected(place) as session:
        return await ask(session, "sign", {"request": request, "names": [name]})
