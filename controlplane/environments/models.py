"""Installations, their signing keys and stores, worker groups (= environments) and workers."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Float, ForeignKey, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from controlplane.db.base import Base, HasId, Id


class Installation(HasId, Base):
    """What a stack made; `organization_id` NULL is the operator's, offered by rows of `group_access`.

    `queue_read_at`: when the master last could read its queue; silence of its workers counts only while it can.
    """

    __tablename__ = "installation"

    organization_id: Mapped[str | None] = mapped_column(Id, ForeignKey("organization.id"), index=True)
    name: Mapped[str] = mapped_column(String(64), unique=True)
    flavour: Mapped[str] = mapped_column(String(16))
    provider: Mapped[str] = mapped_column(String(16))
    document: Mapped[dict[str, Any]] = mapped_column(default=dict)
    queue_url: Mapped[str] = mapped_column(Text, default="")
    queue_read_at: Mapped[datetime | None]
    created_at: Mapped[datetime]


class InstallationKey(Base):
    """An Ed25519 key that signs what goes to workers; `private` is encrypted. Two are valid in a rotation."""

    __tablename__ = "installation_key"

    id: Mapped[str] = mapped_column(String(16), primary_key=True)
    installation_id: Mapped[str] = mapped_column(Id, ForeignKey("installation.id"), index=True)
    public: Mapped[str] = mapped_column(String(64))
    private: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime]
    retired_at: Mapped[datetime | None]


class Store(HasId, Base):
    """Where bytes go. purpose: code | releases | logs | data; kind: folder | s3 | gcs | azure | swift.

    An installation's own store has `installation_id`; one that people added has `organization_id`, and is for data.
    `access`: public (every organisation) | owner_organization | teams (rows of `store_team`) | single_project
    (`project_id`). `config` holds what may be shown, `secrets` the rest, encrypted as one text.
    """

    __tablename__ = "store"
    __table_args__ = (
        UniqueConstraint("installation_id", "purpose", "name"),
        UniqueConstraint("organization_id", "name"),
    )

    installation_id: Mapped[str | None] = mapped_column(Id, ForeignKey("installation.id"))
    organization_id: Mapped[str | None] = mapped_column(Id, ForeignKey("organization.id"))
    project_id: Mapped[str | None] = mapped_column(Id, ForeignKey("project.id"))
    name: Mapped[str] = mapped_column(String(64))
    purpose: Mapped[str] = mapped_column(String(16))
    kind: Mapped[str] = mapped_column(String(16))
    access: Mapped[str] = mapped_column(String(32), default="owner_organization")
    allow_read: Mapped[bool] = mapped_column(default=True)
    allow_write: Mapped[bool] = mapped_column(default=True)
    config: Mapped[dict[str, Any]] = mapped_column(default=dict)
    secrets: Mapped[str] = mapped_column(Text, default="")
    creator_id: Mapped[str | None] = mapped_column(Id)
    created_at: Mapped[datetime]


class StoreTeam(HasId, Base):
    """A team that may use a store whose access is `teams`."""

    __tablename__ = "store_team"
    __table_args__ = (UniqueConstraint("store_id", "team_id"),)

    store_id: Mapped[str] = mapped_column(Id, ForeignKey("store.id"))
    team_id: Mapped[str] = mapped_column(Id, ForeignKey("team.id"), index=True)


class WorkerGroup(HasId, Base):
    """An environment: machines of one type in one region. `settings` holds the group's policy.

    settings: lost_after (s), ca_bundle (bool), proxy {NAME: value}, host_network (bool), gpus_per_slot,
    memory, cpu (of a machine, for people). `price` is micro-units of `currency` an hour; None is unknown.
    `join_secret` is encrypted.
    """

    __tablename__ = "worker_group"
    __table_args__ = (UniqueConstraint("installation_id", "slug"),)

    installation_id: Mapped[str] = mapped_column(Id, ForeignKey("installation.id"))
    slug: Mapped[str] = mapped_column(String(64), index=True)
    name: Mapped[str] = mapped_column(String(128))
    description: Mapped[str] = mapped_column(Text, default="")
    region: Mapped[str] = mapped_column(String(64), default="")
    instance_type: Mapped[str] = mapped_column(String(64), default="")
    gpu_spec: Mapped[str] = mapped_column(String(128), default="")
    enabled: Mapped[bool] = mapped_column(default=True)
    price: Mapped[int | None] = mapped_column(BigInteger)
    currency: Mapped[str] = mapped_column(String(3), default="USD")
    scale_min: Mapped[int] = mapped_column(default=0)
    scale_max: Mapped[int] = mapped_column(default=1)
    settings: Mapped[dict[str, Any]] = mapped_column(default=dict)
    join_secret: Mapped[str] = mapped_column(Text, default="")
    created_at: Mapped[datetime]


class GroupAccess(HasId, Base):
    """An organisation that may use a group; `organization_id` NULL means every one."""

    __tablename__ = "group_access"

    group_id: Mapped[str] = mapped_column(Id, ForeignKey("worker_group.id"), index=True)
    organization_id: Mapped[str | None] = mapped_column(Id, ForeignKey("organization.id"), index=True)


class Worker(HasId, Base):
    """A machine that joined. state: active | silent | draining | lost | left.

    `last_seq` is the last message applied; `queue_password_hash` makes its Redis user again after a restart;
    `silent_since` and the leases are in the database's time.
    """

    __tablename__ = "worker"
    __table_args__ = (UniqueConstraint("installation_id", "machine"),)

    installation_id: Mapped[str] = mapped_column(Id, ForeignKey("installation.id"))
    group_id: Mapped[str] = mapped_column(Id, ForeignKey("worker_group.id"), index=True)
    machine: Mapped[str] = mapped_column(String(64))
    name: Mapped[str] = mapped_column(String(128))
    state: Mapped[str] = mapped_column(String(16), default="active", index=True)
    slots: Mapped[int] = mapped_column(default=1)
    free: Mapped[int] = mapped_column(default=0)
    signing_key: Mapped[str] = mapped_column(String(64))
    seal_key: Mapped[str] = mapped_column(String(64))
    queue_password_hash: Mapped[str] = mapped_column(String(64))
    version: Mapped[str] = mapped_column(String(32), default="")
    facts: Mapped[dict[str, Any]] = mapped_column(default=dict)
    last_seq: Mapped[int] = mapped_column(BigInteger, default=0)
    last_stream_id: Mapped[str] = mapped_column(String(40), default="0-0")
    last_beat_at: Mapped[datetime | None]
    silent_since: Mapped[datetime | None]
    disk_free: Mapped[int] = mapped_column(BigInteger, default=0)
    clock_skew: Mapped[float] = mapped_column(Float, default=0.0)
    joined_at: Mapped[datetime]
    left_at: Mapped[datetime | None]
