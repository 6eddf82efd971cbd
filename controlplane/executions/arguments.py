"""What the sentence of any reason may name of an attempt."""

from __future__ import annotations

from typing import Any

from sqlalchemy.orm import Session

from controlplane.environments.models import Worker
from controlplane.executions.models import Attempt, Execution

MAX_DETAIL = 500


def worker_name(session: Session, attempt: Attempt) -> str:
    """Name of the attempt's machine; "?" when its row is gone."""
    worker = session.get(Worker, attempt.worker_id)
    return worker.name if worker else "?"


def arguments_of(session: Session, execution: Execution, attempt: Attempt) -> dict[str, Any]:
    """{name: value} for `controlplane.reasons.sentence`; times in seconds."""
    return {
        "exit_code": attempt.exit_code,
        "detail": attempt.detail[:MAX_DETAIL],
        "worker": worker_name(session, attempt),
        "image": execution.image,
        "time_limit": execution.time_limit,
        "no_output_timeout": execution.no_output_timeout,
        "by": execution.reason_args.get("by", "The system"),
    }
