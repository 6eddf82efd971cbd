"""Where the agent's own files stand on a host: ROOT holds releases and whom to trust, HOME what the agent keeps.

ROOT/remora-agent-VERSION-ARCH.pex, ROOT/current and ROOT/former (links to them), ROOT/trust.json.
"""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from worker_bootstrap.agent.files import read_json, write_json
from worker_bootstrap.host.errors import HostError
from worker_bootstrap.protocol import typed
from worker_bootstrap.protocol.errors import ProtocolError

ROOT = Path("/opt/remora-agent")
HOME = Path("/var/lib/remora-agent")
_FILE = re.compile(r"remora-agent-(\d+\.\d+\.\d+)-[a-z0-9_]+\.pex")
_SPELLINGS = {"arm64": "aarch64", "amd64": "x86_64"}


@dataclass(frozen=True)
class Trust:
    """Whose releases are taken (base64 keys), and the highest minimum version that was seen."""

    keys: list[str] = field(default_factory=list)
    minimum_version: str = ""


def architecture() -> str:
    """This machine's, in the releases' spelling."""
    machine = platform.machine().lower()
    return _SPELLINGS.get(machine, machine)


def file_name(version: str, machine: str) -> str:
    """The file of a release on a host."""
    return f"remora-agent-{version}-{machine}.pex"


class Releases:
    """The releases on this machine, in ROOT."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @property
    def current(self) -> Path:
        """Link to the file that the service starts."""
        return self.root / "current"

    def installed(self) -> str:
        """Version that `current` names; empty when nothing is installed."""
        found = _FILE.fullmatch(self._target(self.current))
        return found.group(1) if found else ""

    def former(self) -> str:
        """Version that `former` names, to go back to by hand; empty when there is none."""
        found = _FILE.fullmatch(self._target(self.root / "former"))
        return found.group(1) if found else ""

    def trust(self) -> Trust:
        """Whom this machine trusts. Raises HostError."""
        path = self.root / "trust.json"
        try:
            return typed.load(Trust, read_json(path, {}))
        except (ValueError, ProtocolError) as error:
            raise HostError(f"{path} can't be read: repair or remove it, and join again ({error}).") from error

    def keep_trust(self, trust: Trust) -> None:
        """Store it; public keys only."""
        write_json(self.root / "trust.json", asdict(trust), mode=0o644)

    def switch(self, name: str) -> None:
        """Let `current` name this file, `former` the one before; older ones are removed."""
        before = self._target(self.current)
        if before and before != name:
            self._link("former", before)
        self._link("current", name)
        self._remove_others((name, self._target(self.root / "former")))

    def _link(self, link: str, target: str) -> None:
        temporary = self.root / f".{link}.{os.getpid()}"
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(target)
        temporary.replace(self.root / link)

    def _remove_others(self, kept: Sequence[str]) -> None:
        for path in self.root.iterdir():
            if _FILE.fullmatch(path.name) and path.name not in kept:
                path.unlink()

    @staticmethod
    def _target(link: Path) -> str:
        return link.readlink().name if link.is_symlink() else ""
