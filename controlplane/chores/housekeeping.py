"""Housekeeping: what has expired opens nothing any more, and is removed a while later."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, or_

from controlplane.accounts.models import BrowserSession, LoginFailure, LoginLink, Token
from controlplane.chores.kinds import Kind, Removal
from controlplane.chores.removing import Rule, remove
from controlplane.chores.run import Run
from controlplane.dispatch.models import ANSWERS_KEPT, IdempotencyRecord


def rules(grace: timedelta) -> list[Rule]:
    """What is removed, `grace` after it expired or was ended."""

    def sessions(now: datetime) -> ColumnElement[bool]:
        return or_(BrowserSession.expires_at < now - grace, BrowserSession.ended_at < now - grace)

    def tokens(now: datetime) -> ColumnElement[bool]:
        return or_(Token.expires_at < now - grace, Token.revoked_at < now - grace)

    return [
        Rule("sessions", BrowserSession, sessions),
        Rule("tokens", Token, tokens),
        Rule(
            "idempotency keys", IdempotencyRecord, lambda now: IdempotencyRecord.created_at < now - ANSWERS_KEPT - grace
        ),
        Rule("login links", LoginLink, lambda now: LoginLink.expires_at < now - grace),
        Rule("wrong logins", LoginFailure, lambda now: LoginFailure.at < now - grace),
    ]


def run(run: Run, arguments: Removal) -> dict[str, int]:
    """Remove them, or count them."""
    grace = timedelta(seconds=run.settings.housekeeping_grace)
    return remove(run, rules(grace), dry_run=arguments.dry_run)


HOUSEKEEPING = Kind(
    name="housekeeping",
    summary="Remove sessions, tokens, idempotency keys and wrong logins that have expired.",
    arguments=Removal,
    handler=run,
    every=lambda settings: settings.housekeeping_interval,
)
