"""The job document: the body of a `grant`. Everything a worker needs to run one attempt."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class InputFile:
    """One file of one input. `id` is unique in the job; its bytes are asked for by that id.

    `uri` is what the user wrote, after expansion. `download_intent`: always | on-demand.
    `path` is relative to the input's folder. Checksums by name (md5, sha1, sha256) where known.
    `version` is an ETag, datum id or empty: part of the cache key with organisation, uri and size.
    """

    id: str
    uri: str
    path: str
    name: str
    size: int | None = None
    checksums: dict[str, str] = field(default_factory=dict)
    version: str = ""
    datum_id: str | None = None
    storage_uri: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    download_intent: str = "always"


@dataclass(frozen=True)
class Input:
    """A named input: a folder under /valohai/inputs."""

    name: str
    files: list[InputFile]
    input_id: str = ""


@dataclass(frozen=True)
class Code:
    """The code snapshot: a gzipped tar, asked for by a `urls` item of purpose `code`."""

    identifier: str
    sha256: str
    size: int
    source_path: str = ""


@dataclass(frozen=True)
class Mount:
    """A folder of the machine that its own allow-list permits."""

    source: str
    destination: str
    readonly: bool = True


@dataclass(frozen=True)
class Container:
    """How the container is made. Limits of 0 mean the machine's share per slot."""

    image: str
    command: str
    image_pull: str = "missing"
    cpu: float = 0.0
    memory: int = 0
    pids: int = 4096
    gpus: int = 0
    host_network: bool = False
    ca_bundle: bool = False
    proxy: dict[str, str] = field(default_factory=dict)
    mounts: list[Mount] = field(default_factory=list)


@dataclass(frozen=True)
class Limits:
    """Seconds; 0 is none."""

    time_limit: float = 0.0
    no_output_timeout: float = 0.0
    stop_grace: float = 10.0
    metadata_per_second: int = 50
    log_spool_bytes: int = 20_000_000_000
    outputs_max: int = 10_000


@dataclass(frozen=True)
class Job:
    """One attempt. `number` only grows within an execution: the fencing token.

    `secrets`: base64 seal (to the worker's key, context = attempt id) of a JSON object
    {"env": {NAME: value}, "mask": [value, …], "relay_token": text, "registry": null}; older
    agents do not start without `registry`. The credential of the image is asked for when it is pulled.
    `config`: the objects of /valohai/config by file stem (execution, parameters); the agent adds
    inputs, api, runtime, distributed. `first_seq` starts the log's numbering (1).
    """

    execution: str
    attempt: str
    number: int
    worker: str
    installation: str
    organization: str
    project: str
    title: str
    code: Code
    container: Container
    limits: Limits
    inputs: list[Input]
    env: dict[str, str]
    config: dict[str, Any]
    secrets: str
    output_metadata: dict[str, Any] = field(default_factory=dict)
    outputs_enabled: bool = True
    log_first_seq: int = 1
