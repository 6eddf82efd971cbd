"""The agent's settings: DIR/agent.json (0600), written by whoever installs it. Seconds and bytes."""

from __future__ import annotations

import json
import os
import stat
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from worker_bootstrap.protocol.address import plain_problem
from worker_bootstrap.protocol.errors import ProtocolError
from worker_bootstrap.protocol.reach import parse_networks
from worker_bootstrap.protocol.typed import load

DURATIONS = (
    "beat_interval",
    "resend_after",
    "resend_most",
    "backoff_first",
    "backoff_most",
    "ask_interval",
    "ask_patience",
    "usage_interval",
    "usage_send",
    "http_connect",
    "http_timeout",
    "upload_patience",
    "download_patience",
    "scan_interval",
    "engine_patience",
    "engine_timeout",
    "keeper_wait",
    "join_wait",
    "rejoin_after",
    "orphan_interval",
    "max_offline",
    "lease_lost_after",
)

TLS_FILES = ("ca", "cert", "key")


class ConfigError(ValueError):
    """agent.json can't be used; the message names the field and what to write there."""


@dataclass(frozen=True)
class AgentConfig:
    """Everything an installation may set.

    `queue_url` has no password in it. `machine`: an id to use instead of a generated one.
    `tls`: files `ca`, `cert` and `key`, for a queue_url that begins with rediss://.
    `store_ca`: file of an authority that is trusted for http besides: that of an own store.
    `mounts_allowed`: folders of this machine that jobs may mount; nobody else can widen it.
    `gpus`: device ids to share out over the slots. `power_off`: command of the dead-man timer,
    used when `max_offline` is above 0. `scale` multiplies every duration (tests run at 1/20).
    `input_networks`: the networks, beside the public ones, that users' inputs may come from; none named: all
    but this machine (`allow_loopback_inputs`) and what is refused everywhere.
    """

    queue_url: str
    join_password: str
    join_secret: str
    group: str
    name: str
    join_user: str = "join"
    installation: str = ""
    machine: str = ""
    slots: int = 1
    engine: str = ""
    mounts_allowed: list[str] = field(default_factory=list)
    tls: dict[str, str] = field(default_factory=dict)
    allow_without_firewall: bool = False
    allow_loopback_inputs: bool | None = None
    input_networks: list[str] = field(default_factory=list)
    gpus: list[str] = field(default_factory=list)
    ca_bundle: str = ""
    store_ca: str = ""
    http_proxy: str = ""
    power_off: list[str] = field(default_factory=list)
    scale: float = 1.0

    # Durations
    beat_interval: float = 10.0
    resend_after: float = 5.0
    resend_most: float = 60.0
    backoff_first: float = 0.5
    backoff_most: float = 30.0
    ask_interval: float = 5.0
    ask_patience: float = 600.0
    usage_interval: float = 10.0
    usage_send: float = 60.0
    http_connect: float = 10.0
    http_timeout: float = 60.0
    upload_patience: float = 600.0
    download_patience: float = 300.0
    scan_interval: float = 1.0
    engine_patience: float = 60.0
    engine_timeout: float = 60.0
    keeper_wait: float = 20.0
    join_wait: float = 30.0
    rejoin_after: float = 120.0
    orphan_interval: float = 300.0
    max_offline: float = 0.0
    lease_lost_after: float = 300.0

    # Sizes and counts
    cache_bytes: int = 50_000_000_000
    min_disk_free: int = 200_000_000
    disk_floor: int = 50_000_000
    disk_reserve: int = 16_000_000
    memory_reserve: int = 268_435_456
    code_max_bytes: int = 5_000_000_000
    code_max_files: int = 200_000
    parallel_downloads: int = 4
    parallel_uploads: int = 4
    part_bytes: int = 33_554_432

    @property
    def loopback_inputs(self) -> bool:
        """Whether users' input addresses may point to this machine: only where it is theirs alone."""
        if self.allow_loopback_inputs is None:
            return self.allow_without_firewall
        return self.allow_loopback_inputs

    def scaled(self) -> AgentConfig:
        """The same with every duration multiplied by `scale`."""
        if self.scale == 1.0:
            return self
        return replace(self, scale=1.0, **{name: getattr(self, name) * self.scale for name in DURATIONS})


def read_config(home: Path, settings: dict[str, Any] | None = None) -> AgentConfig:
    """The settings of `home`; `settings` (from the master, durations only) count below the file. Raises ConfigError."""
    path = home / "agent.json"
    try:
        if stat.S_IMODE(path.stat().st_mode) & 0o077:
            raise ConfigError(f"{path} holds secrets and is readable by others: chmod 600 {path}")
        data: Any = json.loads(path.read_text())
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; `remora worker join` writes it") from error
    except ValueError as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"{path} is not JSON: {error}") from error
    config = parse_config(data, settings)
    for name, file in config.tls.items():
        if file and not os.access(file, os.R_OK):
            raise ConfigError(f"agent.json: tls: {name}: {file} can't be read")
    return config


def parse_config(data: Any, settings: dict[str, Any] | None = None) -> AgentConfig:
    """Settings from a decoded agent.json. Raises ConfigError."""
    if not isinstance(data, dict):
        raise ConfigError("agent.json: an object is expected")
    given = {name: value for name, value in (settings or {}).items() if name in DURATIONS}
    try:
        config = load(AgentConfig, {**given, **data})
    except ProtocolError as error:
        raise ConfigError(f"agent.json: {error}") from error
    if not config.queue_url.startswith(("redis://", "rediss://")):
        raise ConfigError("agent.json: queue_url: redis://HOST:PORT or rediss://HOST:PORT is expected")
    if "@" in config.queue_url:
        raise ConfigError("agent.json: queue_url: must have no password in it; use join_password")
    problem = plain_problem(config.queue_url)
    if problem:
        raise ConfigError(f"agent.json: queue_url: {problem}")
    unknown = sorted(config.tls.keys() - set(TLS_FILES))
    if unknown:
        raise ConfigError(f"agent.json: tls: {unknown[0]}: one of {', '.join(TLS_FILES)} is expected")
    if bool(config.tls.get("cert")) != bool(config.tls.get("key")):
        raise ConfigError("agent.json: tls: cert and key belong together")
    if not 1 <= config.slots <= 1024:
        raise ConfigError("agent.json: slots: 1 to 1024")
    try:
        parse_networks(config.input_networks)
    except ValueError as error:
        raise ConfigError(f"agent.json: input_networks: {error}") from error
    for name in DURATIONS:
        if getattr(config, name) < 0:
            raise ConfigError(f"agent.json: {name}: seconds, not negative")
    return config.scaled()


def known_fields() -> list[str]:
    """Names that agent.json may hold."""
    return [entry.name for entry in fields(AgentConfig)]
