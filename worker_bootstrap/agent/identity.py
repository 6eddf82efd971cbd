"""Who this machine is: keys made at its first start, and what the master gave it on joining."""

from __future__ import annotations

import os
import platform
import uuid
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from worker_bootstrap.agent.files import read_json, write_json
from worker_bootstrap.protocol import crypto, typed
from worker_bootstrap.protocol.errors import ProtocolError


@dataclass(frozen=True)
class Keys:
    """The machine's id and its base64 private keys. They never leave DIR/identity."""

    machine: str
    signing: str = field(repr=False)
    seal: str = field(repr=False)

    @property
    def signing_key(self) -> crypto.SigningKey:
        """Signs what this worker says."""
        return crypto.SigningKey(crypto.unb64(self.signing))

    @property
    def seal_key(self) -> crypto.SealKey:
        """Opens what is sealed to this worker."""
        return crypto.SealKey(crypto.unb64(self.seal))


@dataclass(frozen=True)
class Membership:
    """What the master answered: names, the queue login, its base64 public keys, settings for agents."""

    worker: str
    installation: str
    queue_user: str
    queue_password: str = field(repr=False)
    master_keys: list[str]
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def masters(self) -> dict[str, bytes]:
        """Key id to public key of the master."""
        raw = [crypto.unb64(key) for key in self.master_keys]
        return {crypto.key_id(key): key for key in raw}


class IdentityStore:
    """DIR/identity, readable by this user only."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def keys(self, machine: str = "") -> Keys:
        """The keys of this machine; made when there are none. `machine`: the id to use for new ones."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._folder.chmod(0o700)
        data = read_json(self._folder / "keys.json")
        if data is not None:
            return typed.load(Keys, data)
        fresh = Keys(
            machine=machine or str(uuid.uuid4()),
            signing=crypto.b64(crypto.SigningKey.generate().raw),
            seal=crypto.b64(crypto.SealKey.generate().raw),
        )
        write_json(self._folder / "keys.json", asdict(fresh))
        return fresh

    def membership(self) -> Membership | None:
        """What the master gave, or None before joining."""
        try:
            data = read_json(self._folder / "worker.json")
            return None if data is None else typed.load(Membership, data)
        except (ValueError, ProtocolError):
            return None

    def keep(self, membership: Membership) -> None:
        """Store what the master gave."""
        write_json(self._folder / "worker.json", asdict(membership))


def facts() -> dict[str, Any]:
    """What this machine is, for people."""
    return {
        "architecture": platform.machine(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "cpus": os.cpu_count() or 1,
        "memory": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        "root": os.geteuid() == 0,
    }
