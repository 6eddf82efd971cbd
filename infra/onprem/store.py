"""An object store of the installation's own on one machine: versitygw, with TLS by the queue's authority."""

from __future__ import annotations

from typing import Any

from infra.onprem import queue
from infra.onprem.putting import carry, claim, machine_of, release_of
from infra.onprem.remote import Place, connected
from infra.onprem.service import Service

SERVICE = Service("store", "/opt/remora-store")


async def apply(props: dict[str, Any]) -> dict[str, Any]:
    """Install it or bring it up to `props`. Raises RemoteError, ReleaseMissingError."""
    address = props["address"]
    async with connected(Place.of(props["place"])) as session:
        await claim(session, "store", props["installation"])
        release = release_of(props)
        await SERVICE.carry_agent(session, release)
        await carry(session, f"{SERVICE.folder}/versitygw", release.store_program(await machine_of(session)))
        request = await SERVICE.order(session, "store-request", {"address": address})
        signed = await queue.sign(Place.of(props["queue"]), request, address)
        wanted = {"address": address, "port": int(props["port"]), "path": props["path"], **signed}
        wanted |= {"buckets": props["buckets"], "origin": props["origin"]}
        await SERVICE.order(session, "store", wanted)
    return {}


async def remove(props: dict[str, Any]) -> None:
    """Take the service away, if this installation made it; its bytes stay in their folder. Raises RemoteError."""
    await SERVICE.remove(props)


async def credentials(place: Place) -> str:
    """Two lines, access key and secret: made on the store's machine, in memory only here. Raises RemoteError."""
    async with connected(place) as session:
        return await SERVICE.order(session, "store-credentials", {})
