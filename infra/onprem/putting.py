"""What putting something on any machine needs: a mark whose it is, packages, programs."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from infra.onprem.probes import MARKERS
from infra.onprem.release import Release, open_now
from infra.onprem.remote import RemoteError, Session

MARK = """\
mkdir -p "$1" && chmod 755 "$1"
[ -e "$1/installation" ] || printf %s "$2" >"$1/installation"
cat "$1/installation"
"""
# Only what is missing is installed; a service that comes with a package is not wanted: ours has a unit of its own.
INSTALL = """\
command=$1 package=$2 service=$3
command -v "$command" >/dev/null && exit 0
export DEBIAN_FRONTEND=noninteractive
# Of two that install on one machine at once, one waits: apt itself does not wait for its lists.
exec 9>/run/remora-apt.lock && flock 9
apt-get -q -o DPkg::Lock::Timeout=300 update >/dev/null
apt-get -q -y -o DPkg::Lock::Timeout=300 install --no-install-recommends "$package" >/dev/null
[ -z "$service" ] || systemctl disable --now "$service"
"""


def release_of(props: dict[str, Any]) -> Release:
    """The release that a resource names, verified again."""
    return open_now(props["release"], props["release_keys"])


async def claim(session: Session, role: str, installation: str) -> str:
    """Mark the machine before anything else: a machine that died halfway is known again. Gives back the folder.

    Raises RemoteError when it is another installation's.
    """
    folder = MARKERS[role].rpartition("/")[0]
    owner = (await session.script(MARK, folder, installation, what=f"marking {folder}")).strip()
    if owner != installation:
        raise RemoteError(session.place.name, f"its {role} belongs to the installation {owner}: leave it out.")
    return folder


async def is_ours(session: Session, role: str, installation: str) -> bool:
    """Whether this installation marked the machine for this role."""
    answer = await session.ask(["cat", MARKERS[role]])
    return answer.code == 0 and answer.out.strip() == installation


async def package(session: Session, command: str, name: str, unwanted: str = "") -> None:
    """Install a package unless its command is there; `unwanted` is the service that it would start."""
    await session.script(INSTALL, command, name, unwanted, what=f"installing the package {name}")


async def machine_of(session: Session) -> str:
    """Its architecture."""
    return (await session.run(["uname", "-m"])).strip()


async def carry(session: Session, path: str, content: bytes) -> bool:
    """Put a program unless the same one lies there; compared on the machine. Raises RemoteError."""
    wanted = hashlib.sha256(content).hexdigest()
    if await _sum(session, path) == wanted:
        return False
    await session.put(path, content, 0o755)
    if await _sum(session, path) != wanted:
        raise RemoteError(session.place.name, f"{path} did not arrive whole: look at its disk, and run `up` again.")
    return True


async def forget(session: Session, folders: Sequence[str]) -> None:
    """These folders are gone."""
    await session.run(["rm", "-rf", *folders])


async def _sum(session: Session, path: str) -> str:
    answer = await session.ask(["sha256sum", path])
    return answer.out.split()[0] if answer.code == 0 and answer.out else ""
