"""Executions, their attempts, events, metadata and utilisation."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, ForeignKey, Index, LargeBinary, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from controlplane.db.base import Base, HasId, Id, Owned
from controlplane.executions.facts import follow

INCOMPLETE = ("created", "queued", "started", "stopping")
FINAL = ("complete", "error", "stopped", "crashed")


class Execution(HasId, Owned, Base):
    """One run of a step. `state`: created → queued → started → (stopping) → complete | error | stopped | crashed.

    `reason` is a code of the registry (why it waits, or why it ended) with `reason_args` for its sentence.
    `inputs`: {name: [uri, …]}; `environment_variables`: {NAME: {value, secret}} with secret values encrypted.
    `options`: further step keys (autorestart, runtime_config, keep_directories …). Times in seconds.
    `metadata_points` counts its rows of that table.
    """

    __tablename__ = "execution"
    __table_args__ = (
        UniqueConstraint("project_id", "counter"),
        Index("ix_execution_project_state", "project_id", "state", "counter"),
        Index("ix_execution_queue", "state", "environment_id", "queued_at"),
        Index("ix_execution_project_created", "project_id", "deleted_at", "counter"),
    )

    project_id: Mapped[str] = mapped_column(Id, ForeignKey("project.id"))
    counter: Mapped[int]
    commit_id: Mapped[str] = mapped_column(Id, ForeignKey("commit.id"), index=True)
    environment_id: Mapped[str] = mapped_column(Id, ForeignKey("worker_group.id"))
    creator_id: Mapped[str | None] = mapped_column(Id, ForeignKey("user.id"))
    step: Mapped[str] = mapped_column(String(255))
    title: Mapped[str] = mapped_column(String(255), default="")
    image: Mapped[str] = mapped_column(String(512))
    command: Mapped[str] = mapped_column(Text)
    interpolated_command: Mapped[str] = mapped_column(Text)
    parameters: Mapped[dict[str, Any]] = mapped_column(default=dict)
    inputs: Mapped[dict[str, Any]] = mapped_column(default=dict)
    environment_variables: Mapped[dict[str, Any]] = mapped_column(default=dict)
    tags: Mapped[list[str]] = mapped_column(default=list)
    options: Mapped[dict[str, Any]] = mapped_column(default=dict)
    time_limit: Mapped[int] = mapped_column(default=0)
    no_output_timeout: Mapped[int] = mapped_column(default=0)
    priority: Mapped[int] = mapped_column(default=0)
    state: Mapped[str] = mapped_column(String(16), default="created")
    reason: Mapped[str] = mapped_column(String(64), default="")
    reason_args: Mapped[dict[str, Any]] = mapped_column(default=dict)
    status_detail: Mapped[str | None] = mapped_column(Text)
    exit_code: Mapped[int | None]
    attempt_number: Mapped[int] = mapped_column(default=0)
    cumulative_metadata: Mapped[dict[str, Any]] = mapped_column(default=dict)
    stop_requested_by: Mapped[str | None] = mapped_column(Id)
    price: Mapped[int | None] = mapped_column(BigInteger)
    created_at: Mapped[datetime] = mapped_column(index=True)
    queued_at: Mapped[datetime | None]
    started_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
    deleted_at: Mapped[datetime | None]
    pinned_at: Mapped[datetime | None]
    metadata_points: Mapped[int] = mapped_column(BigInteger, default=0)


class Attempt(HasId, Owned, Base):
    """One grant of an execution to a worker; `number` is the fencing token.

    state: granted → accepted → running → ended. outcome: complete | error | stopped | failed | lost | refused.
    `job` is the exact body that was granted (its secrets are sealed to the worker).
    """

    __tablename__ = "attempt"
    __table_args__ = (
        UniqueConstraint("execution_id", "number"),
        Index("ix_attempt_worker_state", "worker_id", "state"),
    )

    execution_id: Mapped[str] = mapped_column(Id, ForeignKey("execution.id"))
    worker_id: Mapped[str] = mapped_column(Id, ForeignKey("worker.id"))
    number: Mapped[int]
    state: Mapped[str] = mapped_column(String(16), default="granted", index=True)
    phase: Mapped[str] = mapped_column(String(16), default="")
    outcome: Mapped[str] = mapped_column(String(16), default="")
    reason: Mapped[str] = mapped_column(String(64), default="")
    detail: Mapped[str] = mapped_column(Text, default="")
    exit_code: Mapped[int | None]
    job: Mapped[bytes | None] = mapped_column(LargeBinary)
    epoch: Mapped[int] = mapped_column(BigInteger, default=0)
    container_id: Mapped[str] = mapped_column(String(64), default="")
    image_digest: Mapped[str] = mapped_column(String(128), default="")
    log_lines: Mapped[int] = mapped_column(BigInteger, default=0)
    log_complete: Mapped[bool] = mapped_column(default=False)
    stop_reason: Mapped[str] = mapped_column(String(64), default="")
    stop_kill: Mapped[bool] = mapped_column(default=False)
    granted_at: Mapped[datetime]
    sent_at: Mapped[datetime | None]
    stop_sent_at: Mapped[datetime | None]
    accepted_at: Mapped[datetime | None]
    running_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]


class ExecutionEvent(HasId, Owned, Base):
    """What happened to an execution, for people: append-only. kind: state | phase | status | attempt | detail | gap."""

    __tablename__ = "execution_event"
    __table_args__ = (Index("ix_execution_event_order", "execution_id", "id"),)

    execution_id: Mapped[str] = mapped_column(Id, ForeignKey("execution.id"))
    attempt_id: Mapped[str | None] = mapped_column(Id)
    at: Mapped[datetime]
    kind: Mapped[str] = mapped_column(String(32))
    actor: Mapped[str] = mapped_column(String(64), default="system")
    reason: Mapped[str] = mapped_column(String(64), default="")
    message: Mapped[str] = mapped_column(Text, default="")
    schema: Mapped[int] = mapped_column(default=1)
    payload: Mapped[dict[str, Any]] = mapped_column(default=dict)


class ExecutionComment(HasId, Owned, Base):
    """What somebody wrote below an execution. Its author alone changes it; removed ones keep their place only."""

    __tablename__ = "execution_comment"
    __table_args__ = (Index("ix_execution_comment_order", "execution_id", "id"),)

    execution_id: Mapped[str] = mapped_column(Id, ForeignKey("execution.id"))
    author_id: Mapped[str] = mapped_column(Id, ForeignKey("user.id"))
    text: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime]
    edited_at: Mapped[datetime | None]
    deleted_at: Mapped[datetime | None]


class MetadataPoint(HasId, Owned, Base):
    """One JSON line of an attempt's output."""

    __tablename__ = "metadata_point"
    __table_args__ = (Index("ix_metadata_point_order", "execution_id", "id"),)

    execution_id: Mapped[str] = mapped_column(Id, ForeignKey("execution.id"))
    attempt_id: Mapped[str] = mapped_column(Id, ForeignKey("attempt.id"))
    at: Mapped[datetime]
    data: Mapped[dict[str, Any]] = mapped_column(JSON)


class UsageSample(HasId, Owned, Base):
    """Utilisation of an attempt at a moment: cpu (cores), memory (bytes), …"""

    __tablename__ = "usage_sample"
    __table_args__ = (Index("ix_usage_sample_order", "attempt_id", "at"),)

    attempt_id: Mapped[str] = mapped_column(Id, ForeignKey("attempt.id"))
    at: Mapped[datetime]
    data: Mapped[dict[str, Any]] = mapped_column(JSON)


follow(Execution)
