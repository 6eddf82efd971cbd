"""A machine that runs executions: engine, agent, service. Every step may be done twice; a half-made machine goes on."""

from __future__ import annotations

from typing import Any

from infra.onprem.putting import carry, claim, forget, is_ours, machine_of, package, release_of
from infra.onprem.queue import join_credential
from infra.onprem.remote import Place, RemoteError, Session, connected

FOLDER = "/opt/remora-agent"
HOME = "/var/lib/remora-agent"
CACHE = "/var/cache/remora-agent"
UNIT = "remora-agent.service"
CURRENT = f"{FOLDER}/current"
RELEASE = f"{FOLDER}/release"

ENGINE = "systemctl enable --now docker >/dev/null 2>&1; timeout 60 docker version >/dev/null"
# A machine that restarts while the installer looks away is given a moment.
ACTIVE = 'for _ in 1 2 3 4 5 6 7 8 9 10; do systemctl -q is-active "$1" && exit 0; sleep 1; done; exit 1'
REMOVE = """\
systemctl disable --now "$1" >/dev/null 2>&1 || true
rm -f "/etc/systemd/system/$1"
systemctl daemon-reload
systemctl reset-failed "$1" >/dev/null 2>&1 || true
"""


async def apply(props: dict[str, Any]) -> dict[str, Any]:
    """Install the agent or bring it up to `props`; running executions go on.

    Raises RemoteError, ReleaseMissingError.
    """
    place = Place.of(props["place"])
    async with connected(place) as session:
        await claim(session, "agent", props["installation"])
        await package(session, "iptables", "iptables")
        await package(session, "docker", "docker.io")
        await session.script(ENGINE, what="starting the Docker engine")
        file = await _carry_release(session, props)
        line = (await join_credential(Place.of(props["queue"]["place"]), _asked(props))).encode()
        options = _options(props)
        if (await session.ask(["test", "-x", CURRENT])).code != 0:
            await _agent(session, file, "install", "--no-start", *options, given=line)
        # The machine itself verifies the release, by the keys that it trusts.
        await _agent(session, CURRENT, "fetch-release", RELEASE)
        await _agent(session, CURRENT, "install", *options, given=line)
        await forget(session, [RELEASE])
        await _check(session, props)
    return {}


async def remove(props: dict[str, Any]) -> None:
    """Take the agent and all that it made away, if this installation put it there. Raises RemoteError."""
    async with connected(Place.of(props["place"])) as session:
        if not await is_ours(session, "agent", props["installation"]):
            return
        if (await session.ask(["test", "-x", CURRENT])).code == 0:
            await _agent(session, CURRENT, "uninstall", "--yes")
        # What a machine holds that died before its agent was whole.
        await session.script(REMOVE, UNIT, what=f"removing {UNIT}")
        await forget(session, [HOME, CACHE, FOLDER])


def _asked(props: dict[str, Any]) -> dict[str, Any]:
    queue = props["queue"]
    return {
        "group": props["group"],
        "address": queue["address"],
        "port": int(queue["port"]),
        "machine": props["name"],
        "release_keys": list(props["release_keys"]),
    }


def _options(props: dict[str, Any]) -> list[str]:
    # By its name: a "-" would leave the settings of a machine that has some alone.
    words = ["--credential", "/dev/stdin", "--whole", "--name", props["name"], "--slots", str(int(props["slots"]))]
    for option, values in (("--mount", props["mounts"]), ("--gpu", props["gpus"])):
        for value in values:
            words += [option, value]
    return [*words, "--own-stores"] if props["own_stores"] else words


async def _carry_release(session: Session, props: dict[str, Any]) -> str:
    """Put manifest and file where `fetch-release` reads them. Gives back the file."""
    release = release_of(props)
    name, content = release.agent(await machine_of(session))
    await session.run(["mkdir", "-p", RELEASE])
    await session.put(f"{RELEASE}/manifest.json", release.manifest, 0o644)
    await carry(session, f"{RELEASE}/{name}", content)
    return f"{RELEASE}/{name}"


async def _agent(session: Session, program: str, *words: str, given: bytes = b"") -> None:
    # The file starts itself once more to see that it runs; that one unpacks below HOME, which goes away in the end.
    command = ["env", f"PEX_ROOT={CACHE}", f"HOME={RELEASE}", program, *words]
    await session.run(command, given, f"remora-agent {words[0]}")


async def _check(session: Session, props: dict[str, Any]) -> None:
    """The agent runs, and reaches its queue."""
    try:
        await session.script(ACTIVE, UNIT, what=f"starting {UNIT}")
    except RemoteError as error:
        said = await session.ask(["journalctl", "--no-pager", "--output=cat", "--lines=5", "--unit", UNIT])
        raise RemoteError(session.place.name, f"the agent does not stay up: {said.out.strip()[-600:]}") from error
    queue = props["queue"]
    probe = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 10)"
    answer = await session.ask(["python3", "-c", probe, queue["address"], str(int(queue["port"]))])
    if answer.code != 0:
        why = answer.err.strip().splitlines()[-1:] or ["no answer"]
        raise RemoteError(
            session.place.name,
            f"the agent is installed, but {queue['address']}:{int(queue['port'])} can't be reached ({why[0]}): "
            "open the way to the queue, or name this machine's network in `queue.allowed`; then run `up` again.",
        )
