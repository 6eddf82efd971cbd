"""Configuration of what stands on machines that exist already, reached by ssh."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from stacks.config.base import Part
from stacks.config.common import Master, Name, Network, Origin


class SshAccess(Part):
    """How the machines are reached. The key stays a file of whoever runs the installer: it is read when it is used."""

    user: str = Field(default="root", pattern=r"^[a-z_][a-z0-9_-]{0,31}$", description="root, or a user who may sudo")
    key: str = Field(default="~/.ssh/id_ed25519", description="file of the private key")
    known_hosts: str = Field(default="~/.ssh/known_hosts", description="file that holds every machine's host key")
    jump: str = Field(
        default="", pattern=r"^([a-z_][a-z0-9_-]*@)?[A-Za-z0-9.:-]*$", description="a machine in between, user@host"
    )
    port: int = Field(default=22, ge=1, le=65535, description="port of sshd")


class Host(Part):
    """A machine that runs executions."""

    address: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9.:-]{0,252}$", description="name or address")
    port: int = Field(default=0, ge=0, le=65535, description="port of sshd, where it differs")
    group: str = Field(
        default="machines", pattern=r"^[a-z][a-z0-9-]{0,39}$", description="worker group that it belongs to"
    )
    slots: int = Field(default=1, ge=1, le=256, description="executions at once")
    mounts: list[str] = Field(default_factory=list, description="folders that executions may mount")
    gpus: list[str] = Field(default_factory=list, description="GPUs to share out")

    @field_validator("mounts")
    @classmethod
    def _absolute(cls, values: list[str]) -> list[str]:
        for value in values:
            if not value.startswith("/") or ".." in value.split("/") or value.strip("/") == "":
                raise ValueError(f"{value!r}: an absolute folder other than / is expected, such as /data.")
        return values


class SshStore(Part):
    """Where data, code, logs and releases lie."""

    kind: Literal["versitygw", "s3", "folder"] = Field(
        default="versitygw",
        description="versitygw (an S3 of our own on a machine), s3 (an existing one), folder (one host)",
    )
    host: str = Field(default="", description="machine of versitygw; the first host when empty")
    port: int = Field(default=7070, ge=1, le=65535, description="port of versitygw")
    path: str = Field(
        default="/var/lib/remora-store", pattern=r"^/.+", description="folder of versitygw, or the store itself"
    )
    endpoint: str = Field(default="", pattern=r"^(https?://\S+)?$", description="address of an existing S3")
    bucket: str = Field(default="", description="bucket of an existing S3")
    credentials: str = Field(
        default="", pattern=r"^(file:.+)?$", description="file: and the path of two lines: access key and secret"
    )
    address: str = Field(default="", description="name by which machines, control plane and people reach it")

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.kind == "s3" and not (self.endpoint and self.bucket and self.credentials):
            raise ValueError("kind s3 needs endpoint, bucket and credentials.")
        return self


class SshQueue(Part):
    """The workers' queue: a Redis of its own on one machine."""

    host: str = Field(default="", description="its machine; the first host when empty")
    address: str = Field(default="", description="name by which workers and control plane reach it, where it differs")
    port: int = Field(default=7379, ge=1, le=65535, description="its port")
    allowed: list[Network] = Field(
        default_factory=list,
        max_length=64,
        description="further networks that machines come from, such as 10.20.0.0/16",
    )


class SshInstallation(Part):
    """What both flavours on plain machines are asked for."""

    name: Name = Field(description="the installation's name")
    hosts: list[Host] = Field(min_length=1, max_length=200, description="the machines: a list of {address: …}")
    access: SshAccess = Field(default_factory=SshAccess)
    queue: SshQueue = Field(default_factory=SshQueue)
    store: SshStore = Field(default_factory=SshStore)
    release: str = Field(
        default="", description="folder or https address of the agent's release; this version's own when empty"
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        addresses = [(host.address, host.port) for host in self.hosts]
        for address in addresses:
            if addresses.count(address) > 1:
                raise ValueError(f"hosts: {address[0]} stands twice.")
        if self.store.kind == "folder" and len(self.hosts) > 1:
            raise ValueError("store.kind folder serves one host only: choose versitygw or an existing s3.")
        return self


class OnPremSsh(SshInstallation):
    """Machines of one's own; the control plane is elsewhere."""

    master: Master = Field(description="what `remora server invite` printed on the control plane")
    handover: str = Field(
        default="",
        pattern=r"^([/~].*)?$",
        description="folder for what the control plane gets; REMORA_HOME/installations/NAME when empty",
    )


class SelfHostedSsh(SshInstallation):
    """All of it on machines of one's own."""

    dashboard: Origin = Field(
        description="the dashboard's address, such as https://remora.example.com: name and port lead to its machine"
    )
    master_host: str = Field(default="", description="machine of the control plane; the first host when empty")
    certificate: str = Field(default="", description="file of the certificate, with those between it and its root")
    key: str = Field(default="", description="file of the certificate's key; both are made here when empty")
    database: str = Field(
        default="", pattern=r"^(file:.+)?$", description="file: and a path that holds a PostgreSQL URL; else SQLite"
    )
    release_keys: list[str] = Field(
        default_factory=list,
        max_length=2,
        description="public keys that sign the release, in base64; those of the control plane here when empty",
    )

    @model_validator(mode="after")
    def _served(self) -> Self:
        if not self.dashboard.startswith("https://"):
            raise ValueError("dashboard: an address that begins with https:// is expected.")
        if bool(self.certificate) != bool(self.key):
            raise ValueError("certificate and key go together: name both, or neither to have them made.")
        if self.store.kind == "folder":
            raise ValueError("store.kind folder is not for self_hosted: choose versitygw or an existing s3.")
        return self
