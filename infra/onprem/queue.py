"""The workers' queue on one machine: its program, its secrets and its fence are made there and stay there."""

from __future__ import annotations

from typing import Any

from infra.onprem.putting import claim, forget, is_ours, package, tool
from infra.onprem.remote import Place, Session, connected

FOLDER = "/opt/remora-queue"
CACHE = f"{FOLDER}/cache"
PROGRAM = f"{FOLDER}/remora-agent.pex"


async def apply(props: dict[str, Any]) -> dict[str, Any]:
    """Install it or bring it up to `props`. Raises RemoteError, ReleaseMissingError."""
    async with connected(Place.of(props["place"])) as session:
        await claim(session, "queue", props["installation"])
        await package(session, "redis-server", "redis-server", "redis-server.service")
        program = await tool(session, props, FOLDER)
        wanted = {
            "name": props["installation"],
            "address": props["address"],
            "port": int(props["port"]),
            "allowed": list(props["allowed"]),
        }
        await session.order(program, "queue", wanted, CACHE)
    return {}


async def remove(props: dict[str, Any]) -> None:
    """Take it away, if this installation made it. Raises RemoteError."""
    async with connected(Place.of(props["place"])) as session:
        if not await is_ours(session, "queue", props["installation"]):
            return
        if (await session.ask(["test", "-x", PROGRAM])).code == 0:
            await session.order(PROGRAM, "remove-queue", {}, CACHE)
        await forget(session, [FOLDER])


async def join_credential(place: Place, request: dict[str, Any]) -> str:
    """A machine's join credential: a secret, made on the queue's machine, in memory only here. Raises RemoteError."""
    async with connected(place) as session:
        return await ask(session, "credential", request)


async def ask(session: Session, order: str, request: dict[str, Any]) -> Any:
    """What the queue's machine answers. Raises RemoteError."""
    return await session.order(PROGRAM, order, request, CACHE)
