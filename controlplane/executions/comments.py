"""Comments below executions. Works in the caller's session."""

from __future__ import annotations

from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from controlplane.accounts.models import User
from controlplane.clock import Clock, api_time
from controlplane.db.ids import is_id, uuid7
from controlplane.errors import NotFoundError, PermissionDeniedError, ValidationError
from controlplane.executions.models import Execution, ExecutionComment
from controlplane.limits import Limits
from controlplane.permissions import Actor


class CommentsService:
    """Everybody who works in the project comments; each changes only what is their own."""

    def __init__(self, clock: Clock, limits: Limits) -> None:
        self._clock = clock
        self._limits = limits

    def list(self, session: Session, execution: Execution, limit: int, offset: int) -> tuple[list[dict[str, Any]], int]:
        """(page, count), oldest first."""
        of = (ExecutionComment.execution_id == execution.id, ExecutionComment.deleted_at.is_(None))
        rows = session.scalars(
            select(ExecutionComment).where(*of).order_by(ExecutionComment.id).limit(limit).offset(offset)
        ).all()
        count = session.scalar(select(func.count()).select_from(ExecutionComment).where(*of)) or 0
        return [self.serialize(session, row) for row in rows], count

    def add(self, session: Session, actor: Actor, execution: Execution, text: str) -> ExecutionComment:
        """A new comment. Raises ValidationError, LimitReachedError."""
        self._check(text)
        of = (ExecutionComment.execution_id == execution.id, ExecutionComment.deleted_at.is_(None))
        count = session.scalar(select(func.count()).select_from(ExecutionComment).where(*of)) or 0
        self._limits.check("comments", count + 1)
        row = ExecutionComment(
            id=uuid7(),
            organization_id=execution.organization_id,
            execution_id=execution.id,
            author_id=actor.user_id,
            text=text,
            created_at=self._clock(),
        )
        session.add(row)
        session.flush()
        return row

    def edit(
        self, session: Session, actor: Actor, execution: Execution, comment_id: str, text: str
    ) -> ExecutionComment:
        """Another text. Raises NotFoundError, PermissionDeniedError, ValidationError."""
        row = self._own(session, actor, execution, comment_id)
        self._check(text)
        row.text, row.edited_at = text, self._clock()
        return row

    def delete(self, session: Session, actor: Actor, execution: Execution, comment_id: str) -> None:
        """Take it away. Raises NotFoundError, PermissionDeniedError."""
        row = self._own(session, actor, execution, comment_id)
        row.deleted_at, row.text = self._clock(), ""

    def serialize(self, session: Session, row: ExecutionComment) -> dict[str, Any]:
        """The API's form."""
        author = session.get(User, row.author_id)
        return {
            "id": row.id,
            "execution": row.execution_id,
            "author": {"id": row.author_id, "username": author.username if author else ""},
            "text": row.text,
            "ctime": api_time(row.created_at),
            "mtime": api_time(row.edited_at),
        }

    @staticmethod
    def _own(session: Session, actor: Actor, execution: Execution, comment_id: str) -> ExecutionComment:
        row = session.get(ExecutionComment, comment_id) if is_id(comment_id) else None
        if row is None or row.execution_id != execution.id or row.deleted_at is not None:
            raise NotFoundError
        if row.author_id != actor.user_id:
            raise PermissionDeniedError("Only its author changes a comment.")
        return row

    def _check(self, text: str) -> None:
        if not text.strip():
            raise ValidationError({"text": ("A comment has a text.", "required")})
        self._limits.check("comment_length", len(text))
