"""Links that sign a browser in: a client that has a token opens a page of this server for its user.

The ticket stands in the address's fragment, which browsers send to nobody. It lives a minute, opens one session, and
only its digest is kept.
"""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import delete, select

from controlplane.accounts.models import LoginLink, User
from controlplane.audit.service import AuditService
from controlplane.clock import Clock
from controlplane.db.session import SYSTEM, Database
from controlplane.errors import ConflictError, ValidationError
from controlplane.security.signing import digest, new_token

LIFE = timedelta(seconds=60)
PAGE = "/login/link"
OVER = "This link has been used, or its minute is over. Open the page from your client again."
SOMEBODY_ELSE = "Somebody else is signed in here. Log out first, then open the page from your client again."


class LoginLinks:
    """Makes and uses them, in transactions of its own."""

    def __init__(self, db: Database, clock: Clock, audit: AuditService) -> None:
        self._db = db
        self._clock = clock
        self._audit = audit

    def make(self, user_id: str, target: str, address: str) -> str:
        """The ticket of a link that leads to `target`, a path of this server; what is over goes."""
        ticket, now = new_token(), self._clock()
        with self._db.begin(SYSTEM) as session:
            session.execute(delete(LoginLink).where(LoginLink.expires_at < now - LIFE))
            row = LoginLink(user_id=user_id, digest=digest(ticket), target=target, expires_at=now + LIFE)
            session.add(row)
            self._audit.record(session, "login_link.created", actor=user_id, address=address, subject=user_id)
        return ticket

    def use(self, ticket: str, signed_in: str | None, address: str) -> tuple[str, str]:
        """(user, target) of a ticket, once. `signed_in`: whose browser it is already, if anybody's.

        Raises ValidationError for one that is not known or over, ConflictError where somebody else is signed in; the
        link stays good then.
        """
        now = self._clock()
        query = select(LoginLink).join(User, User.id == LoginLink.user_id).where(User.disabled_at.is_(None))
        good = (LoginLink.digest == digest(ticket), LoginLink.used_at.is_(None), LoginLink.expires_at > now)
        with self._db.begin(SYSTEM) as session:
            # Locked: of two who come at once, one is late.
            row = session.scalar(query.where(*good).with_for_update(of=LoginLink))
            if row is None:
                raise ValidationError({"ticket": OVER})
            if signed_in not in (None, row.user_id):
                raise ConflictError(SOMEBODY_ELSE, code="somebody_else")
            row.used_at = now
            self._audit.record(session, "login_link.used", actor=row.user_id, address=address, subject=row.user_id)
            return row.user_id, row.target
