"""agent.json of this machine, from a join credential."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from worker_bootstrap import credential
from worker_bootstrap.agent.config import ConfigError, parse_config
from worker_bootstrap.agent.files import read_json, write_json
from worker_bootstrap.credential import JoinCredential
from worker_bootstrap.host.errors import HostError
from worker_bootstrap.protocol.errors import ProtocolError

TLS_FILES = {"ca": "ca", "cert": "certificate", "key": "key"}


@dataclass(frozen=True)
class MachineOptions:
    """What the machine's owner decides; None and empty leave what agent.json says.

    `whole`: mounts and GPUs that are not named are taken away. `own_stores`: the queue's authority signs stores too.
    """

    name: str = ""
    slots: int | None = None
    engine: str = ""
    mounts_allowed: Sequence[str] = field(default_factory=tuple)
    gpus: Sequence[str] = field(default_factory=tuple)
    without_firewall: bool = False
    whole: bool = False
    own_stores: bool = False

    def fields(self) -> dict[str, Any]:
        """Fields of agent.json that were given."""
        given: dict[str, Any] = {
            "name": self.name,
            "slots": self.slots,
            "engine": self.engine,
            "mounts_allowed": list(self.mounts_allowed),
            "gpus": list(self.gpus),
            "allow_without_firewall": self.without_firewall,
        }
        kept = ("mounts_allowed", "gpus") if self.whole else ()
        return {name: value for name, value in given.items() if value or name in kept}


def parse_credential(text: str) -> JoinCredential:
    """The credential that was typed. Raises HostError."""
    try:
        return credential.decode(text)
    except ProtocolError as error:
        raise HostError(str(error)) from error


def write_settings(home: Path, typed: JoinCredential, options: MachineOptions) -> Path:
    """Write HOME/agent.json (0600) and the files of TLS; what a person added to agent.json stays.

    Raises HostError, OSError. Nothing is written when the settings are unusable.
    """
    path = home / "agent.json"
    try:
        known = read_json(path, {})
    except ValueError as error:
        raise HostError(f"{path} is not JSON: repair or remove it ({error}).") from error
    settings = {"name": platform.node(), **known, **_from_credential(typed), **options.fields()}
    texts = {name: getattr(typed, part) for name, part in TLS_FILES.items() if getattr(typed, part)}
    if texts:
        settings["tls"] = {name: str(home / "tls" / f"{name}.pem") for name in texts}
    if options.own_stores and "ca" in texts:
        settings["store_ca"] = settings["tls"]["ca"]
    try:
        parse_config(settings)
    except ConfigError as error:
        raise HostError(str(error)) from error
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    home.chmod(0o700)
    for name, text in texts.items():
        _write_private(home / "tls" / f"{name}.pem", text)
    write_json(path, settings)
    return path


def _from_credential(typed: JoinCredential) -> dict[str, Any]:
    return {
        "queue_url": typed.queue_url,
        "group": typed.group,
        "installation": typed.installation,
        "join_password": typed.join_password,
        "join_secret": typed.join_secret,
    }


def _write_private(path: Path, text: str) -> None:
    path.parent.mkdir(exist_ok=True, mode=0o700)
    temporary = path.with_name(f"{path.name}.new")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w") as writer:
        writer.write(text)
    temporary.replace(path)
