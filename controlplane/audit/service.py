"""The audit log: who did what to what, from where. Written in the transaction of what it tells."""

from __future__ import annotations

from typing import Any

from sqlalchemy import event
from sqlalchemy.orm import Session

from controlplane.audit.models import AuditEvent
from controlplane.clock import Clock
from controlplane.permissions import Actor

MAX_TEXT = 200
# Names under which secrets travel: none may ever become part of a payload.
FORBIDDEN = frozenset({"password", "token", "value", "secret_value", "cookie", "csrf", "key", "digest"})


class AuditError(RuntimeError):
    """An audit event was about to be changed, or to hold a secret: a defect."""


class AuditService:
    """Appends audit events."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def record(
        self,
        session: Session,
        action: str,
        *,
        actor: str = "",
        address: str = "",
        organization_id: str | None = None,
        subject: str = "",
        **payload: Any,
    ) -> None:
        """Append one event. `actor` is a user's id, `system` or empty; texts are cut and lose control characters.

        Raises AuditError for a payload that could hold a secret.
        """
        if not FORBIDDEN.isdisjoint(payload):
            raise AuditError(f"an audit event may not hold {sorted(FORBIDDEN & set(payload))}")
        session.add(
            AuditEvent(
                organization_id=organization_id,
                at=self._clock(),
                actor=actor,
                address=_clean(address)[:64],
                action=action,
                subject=_clean(subject)[:128],
                payload={name: _clean(value) if isinstance(value, str) else value for name, value in payload.items()},
            )
        )

    def by(
        self, session: Session, actor: Actor, action: str, organization_id: str | None, subject: str, **payload: Any
    ) -> None:
        """Append what a signed-in person did. Raises AuditError."""
        self.record(
            session,
            action,
            actor=actor.user_id,
            address=actor.address,
            organization_id=organization_id,
            subject=subject,
            **payload,
        )


def _clean(text: str) -> str:
    """One line of printable characters."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)[:MAX_TEXT]


def _refuse(_mapper: Any, _connection: Any, target: AuditEvent) -> None:
    raise AuditError(f"audit event {target.id} can't be changed or removed")


event.listen(AuditEvent, "before_update", _refuse)
event.listen(AuditEvent, "before_delete", _refuse)
