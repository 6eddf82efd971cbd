"""What a start-up script is told: names of secrets and places, never a secret. Durations in seconds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

QUEUE_PORT = 7379


class StartupError(ValueError):
    """No script can be made of these settings; the message says what to change."""


@dataclass(frozen=True)
class AwsPlace:
    """A region of AWS. `endpoints`: addresses (`secretsmanager`, `s3`, `ssm`) in place of the public ones."""

    region: str
    endpoints: Mapping[str, str] = field(default_factory=dict)
    provider: str = field(default="aws", init=False)


@dataclass(frozen=True)
class GcpPlace:
    """A project of GCP."""

    project: str
    region: str
    provider: str = field(default="gcp", init=False)


@dataclass(frozen=True)
class AzurePlace:
    """A subscription of Azure, and the vault that holds the secrets."""

    subscription: str
    region: str
    vault: str
    provider: str = field(default="azure", init=False)


@dataclass(frozen=True)
class OpenstackPlace:
    """A project of an OpenStack: address of its Keystone."""

    auth_url: str
    region: str
    provider: str = field(default="openstack", init=False)


@dataclass(frozen=True)
class SshPlace:
    """A machine that exists already: whoever installs it over ssh brings what it needs."""

    provider: str = field(default="ssh", init=False)


Place = AwsPlace | GcpPlace | AzurePlace | OpenstackPlace | SshPlace


@dataclass(frozen=True)
class Surroundings:
    """The network that the machine stands in: the installation's advanced configuration.

    `proxy` has no password; `ca_bundle` is PEM text; `apt_mirror` the base address of a Debian or Ubuntu mirror,
    `image_mirror` the host of a registry that mirrors Docker Hub.
    """

    proxy: str = ""
    no_proxy: tuple[str, ...] = ()
    ca_bundle: str = ""
    apt_mirror: str = ""
    image_mirror: str = ""


@dataclass(frozen=True)
class Pauses:
    """Between tries of what failed: `first`, doubled each time up to `most`."""

    first: float = 5.0
    most: float = 60.0


@dataclass(frozen=True)
class WorkerStartup:
    """A machine that becomes a worker of `group`.

    `credential_secret`: name (ARN) of the secret with the group's join credential. `releases_bucket` and
    `release_manifest`: where the agent's signed manifest lies (`agent/0.1.0/manifest.json`), its files beside it.
    `release_keys`: base64 public keys that sign releases. `minimum_release`: older ones are refused; empty: none.
    `max_offline`: a machine that is cut off for longer powers off. `join_deadline`: so does one that never joined.
    `agent`: further fields of agent.json.
    """

    installation: str
    group: str
    place: Place
    credential_secret: str
    releases_bucket: str
    release_manifest: str
    release_keys: tuple[str, ...]
    minimum_release: str = ""
    slots: int = 1
    max_offline: float = 3600.0
    join_deadline: float = 900.0
    ssh: bool = False
    surroundings: Surroundings = field(default_factory=Surroundings)
    pauses: Pauses = field(default_factory=Pauses)
    agent: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class QueueStartup:
    """The machine of the workers' queue.

    `hosts`: names and addresses by which it is reached, all in its certificate; workers use the first one.
    Names (ARNs) of secrets that exist already, empty at first: `state_secret` keeps its authority and passwords for
    the machine that replaces it; `master_secret` is the control plane's. `groups_parameter`: name of the parameter that
    says which groups there are, as JSON: slug to the name of the secret for the group's join credential. It is read
    again every `groups_every` seconds: groups come and go while the machine runs. `memory`: bytes that Redis may use;
    0: 60 % of the machine's.
    """

    installation: str
    place: Place
    hosts: tuple[str, ...]
    state_secret: str
    master_secret: str
    groups_parameter: str
    release_keys: tuple[str, ...]
    groups_every: float = 60.0
    port: int = QUEUE_PORT
    memory: int = 0
    ssh: bool = False
    surroundings: Surroundings = field(default_factory=Surroundings)
    pauses: Pauses = field(default_factory=Pauses)


@dataclass(frozen=True)
class MasterStartup:
    """A machine of the control plane, behind a load balancer that people reach as `https://DOMAIN`.

    `port`: where it listens, by TLS. `document`: the installation document as JSON, in which secrets are references.
    `database_secret`: name (ARN) of the secret with the database's `username` and `password`. `releases_bucket`,
    `release_manifest`, `release_keys`, `minimum_release`: see WorkerStartup; the release carries the control plane too.
    `ready_deadline`: a machine that does not serve by then powers off.
    """

    installation: str
    place: Place
    domain: str
    port: int
    document: str
    database_host: str
    database_port: int
    database_name: str
    database_secret: str
    releases_bucket: str
    release_manifest: str
    release_keys: tuple[str, ...]
    minimum_release: str = ""
    ready_deadline: float = 1200.0
    ssh: bool = False
    surroundings: Surroundings = field(default_factory=Surroundings)
    pauses: Pauses = field(default_factory=Pauses)


Startup = WorkerStartup | QueueStartup | MasterStartup
