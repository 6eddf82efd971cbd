"""An object store of the installation's own on one machine: versitygw, with TLS by the queue's authority."""

from __future__ import annotations

from typing import Any

from infra.onprem import queue
from infra.onprem.putting import carry, claim, forget, is_ours, machine_of, release_of, tool
from infra.onprem.remote import Place, connected

FOLDER = "/opt/remora-store"
CACHE = f"{FOLDER}/cache"
PROGRAM = f"{FOLDER}/remora-agent.pex"


async def apply(props: dict[str, Any]) -> dict[str, Any]:
    """Install it or bring it up to `props`. Raises RemoteError, ReleaseMissingError."""
    address = props["address"]
    async with connected(Place.of(props["place"])) as session:
        await claim(session, "store", props["installation"])
        program = await tool(session, props, FOLDER)
        content = release_of(props).store_program(await machine_of(session))
        await carry(session, f"{FOLDER}/versitygw", content)
        request = await session.order(program, "store-request", {"address": address}, CACHE)
        async with connected(Place.of(props["queue"])) as authority:
            signed = await queue.ask(authority, "sign", {"request": request, "names": [address]})
        wanted = {"address": address, "port": int(props["port"]), "path": props["path"], **signed}
        await session.order(program, "store", {**wanted, "buckets": props["buckets"], "origin": props["origin"]}, CACHE)
    return {}


async def remove(props: dict[str, Any]) -> None:
    """Take the service away, if this installation made it; its bytes stay in their folder. Raises RemoteError."""
    async with connected(Place.of(props["place"])) as session:
        if not await is_ours(session, "store", props["installation"]):
            return
        if (await session.ask(["test", "-x", PROGRAM])).code == 0:
            await session.order(PROGRAM, "remove-store", {}, CACHE)
        await forget(session, [FOLDER])


async def credentials(place: Place) -> str:
    """Two lines, access key and secret: made on the store's machine, in memory only here. Raises RemoteError."""
    async with connected(place) as session:
        return await session.order(PROGRAM, "store-credentials", {}, CACHE)
