"""`Idempotency-Key`: saying a create again under the same key makes nothing new and gives the first answer."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING

from flask import Response, current_app, g, request
from sqlalchemy import delete, select

from controlplane.dispatch.models import ANSWERS_KEPT, IdempotencyRecord
from controlplane.errors import ConflictError, ValidationError

if TYPE_CHECKING:
    from controlplane.web.services import Services

HEADER = "Idempotency-Key"
PATTERN = "^[!-~]{1,128}$"
KEY = re.compile(PATTERN)
MAX_ANSWER = 1_000_000


def answer_again() -> Response | None:
    """The first answer to this key, or None when there was none. Raises ConflictError for another request."""
    key = request.headers.get(HEADER)
    actor = g.get("actor")
    # Uploads are named by their content already, and too large to be read twice.
    if (
        key is None
        or actor is None
        or not request.path.startswith("/api/")
        or request.mimetype.startswith("multipart/")
    ):
        return None
    if not KEY.fullmatch(key):
        raise ValidationError({HEADER: "1 to 128 printable letters without blanks."})
    services: Services = current_app.extensions["remora"]
    digest = _digest()
    with services.db.read(actor.scope) as session:
        found = session.scalar(
            select(IdempotencyRecord).where(
                IdempotencyRecord.user_id == actor.user_id,
                IdempotencyRecord.key == key,
                IdempotencyRecord.created_at > services.clock() - ANSWERS_KEPT,
            )
        )
    if found is None:
        g.idempotency = (key, digest)
        return None
    if found.request_digest != digest:
        raise ConflictError("This Idempotency-Key was used for another request; take a new one.", code="key_reused")
    response = Response(found.response["body"], status=found.status, mimetype=found.response["type"])
    response.headers["Idempotency-Replayed"] = "true"
    return response


def keep(response: Response) -> None:
    """Write the answer in the transaction that made the thing: both are there, or neither."""
    if "idempotency" not in g or "session" not in g:
        return
    services: Services = current_app.extensions["remora"]
    key, digest = g.idempotency
    body = response.get_data(as_text=True)
    if len(body) > MAX_ANSWER:
        return
    now = services.clock()
    user_id: str = g.actor.user_id
    session = g.session
    session.execute(
        delete(IdempotencyRecord).where(
            IdempotencyRecord.user_id == user_id, IdempotencyRecord.created_at <= now - ANSWERS_KEPT
        )
    )
    session.add(
        IdempotencyRecord(
            user_id=user_id,
            key=key,
            request_digest=digest,
            status=response.status_code,
            response={"body": body, "type": response.mimetype},
            created_at=now,
        )
    )


def _digest() -> str:
    parts = (
        request.method.encode(),
        request.full_path.encode(),
        request.mimetype.encode(),
        request.get_data(cache=True),
    )
    return hashlib.sha256(b"\0".join(parts)).hexdigest()
