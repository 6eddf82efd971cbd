"""The control plane on one machine: its release, its part of the secrets, its certificate; it takes the document in.

Secrets go from the machines where they are made to the control plane's through the installer's memory.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from infra.onprem import handover, queue
from infra.onprem.putting import carry, claim, machine_of, package, release_of
from infra.onprem.remote import Place, RemoteError, Session, connected
from infra.onprem.service import Service

SERVICE = Service("master", "/opt/remora-server")
MINOR = "import sys; print(sys.version_info.minor)"


async def apply(props: dict[str, Any]) -> dict[str, Any]:
    """Install it or bring it up to `props`; its data stays. Raises RemoteError, ReleaseMissingError."""
    place = Place.of(props["place"])
    async with connected(place) as session:
        await claim(session, "master", props["installation"])
        await package(session, "git", "git")
        await package(session, "redis-server", "redis-server", "redis-server.service")
        release = release_of(props)
        await SERVICE.carry_agent(session, release)
        minor = int(await session.run(["python3", "-c", MINOR]))
        await carry(session, f"{SERVICE.folder}/server.zip", release.server(await machine_of(session), minor))
        secrets = await handover.secrets_of(props)
        wanted = {"dashboard": props["dashboard"], "port": int(props["port"]), "document": props["document"]}
        wanted |= {"files": secrets, "database": _read(place, props["database"]).strip()}
        wanted |= await _certificate(session, props)
        await SERVICE.order(session, "master", wanted)
    return {}


async def remove(props: dict[str, Any]) -> None:
    """Take the service away, if this installation made it; its data stays. Raises RemoteError."""
    await SERVICE.remove(props)


async def access(place: Place) -> dict[str, str]:
    """`url`, `token` and `certificate` of the first administrator's; in memory only. Raises RemoteError."""
    async with connected(place) as session:
        return await SERVICE.order(session, "master-access", {})


async def login_link(place: Place) -> str:
    """An address that signs the first administrator in, once and within a minute. Raises RemoteError."""
    async with connected(place) as session:
        return await SERVICE.order(session, "login-link", {})


async def _certificate(session: Session, props: dict[str, Any]) -> dict[str, str]:
    """Of the files that were named, or by the queue's authority for a key that stays on the machine."""
    if props["certificate"]:
        return {"certificate": _read(session.place, props["certificate"]), "key": _read(session.place, props["key"])}
    name = props["name"]
    request = await SERVICE.order(session, "master-request", {"name": name})
    signed = await queue.sign(Place.of(props["queue"]), request, name)
    return {"certificate": signed["certificate"], "ca": signed["ca"]}


def _read(place: Place, file: str) -> str:
    if not file:
        return ""
    try:
        return Path(file).expanduser().read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise RemoteError(place.name, f"{file} can't be read here ({error}): name another file, or mend it.") from error
