"""Users, tokens, sessions and who may do what."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from sqlalchemy import delete, func, or_, select, update
from sqlalchemy.orm import Session

from controlplane.accounts.models import (
    BrowserSession,
    LoginFailure,
    Organization,
    OrganizationMembership,
    TeamMembership,
    Token,
    User,
)
from controlplane.audit.service import AuditService
from controlplane.clock import Clock
from controlplane.db.ids import is_id, uuid7
from controlplane.db.session import SYSTEM, Database
from controlplane.errors import NotFoundError, TooManyError, ValidationError
from controlplane.limits import Limits
from controlplane.permissions import Actor
from controlplane.projects.models import ProjectMembership
from controlplane.security.signing import digest, new_token

USERNAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
MIN_PASSWORD = 10
LOGIN_WINDOW = 60
MADE_BY_LOGIN = "vh login"
WRONG_LOGIN = "Unable to log in with these credentials."
_STRENGTH = {"viewer": 0, "contributor": 1, "admin": 2}


@dataclass(frozen=True)
class Login:
    """A new browser session: the cookie's value (kept nowhere else) and the CSRF token of its forms."""

    cookie: str
    csrf: str


class AccountsService:
    """Accounts of people. Reads and writes with its own transactions."""

    def __init__(
        self,
        db: Database,
        clock: Clock,
        session_ttl: int,
        attempts_per_minute: int,
        audit: AuditService | None = None,
        limits: Limits | None = None,
    ) -> None:
        self._db = db
        self._limits = limits or Limits()
        self._audit = audit or AuditService(clock)
        self._clock = clock
        self._session_ttl = timedelta(seconds=session_ttl)
        self._attempts = attempts_per_minute
        self._hasher = PasswordHasher()

    def create_user(
        self, username: str, email: str = "", password: str | None = None, *, is_operator: bool = False
    ) -> tuple[str, str]:
        """A user with a personal organisation. Returns (user id, password); a missing password is generated.

        Raises ValidationError for a bad or taken name or a short password.
        """
        if not USERNAME.fullmatch(username):
            raise ValidationError({"username": "1 to 63 of a-z, 0-9, '.', '_', '-', beginning with a letter or digit."})
        password = password or new_token()[:20]
        if len(password) < MIN_PASSWORD:
            raise ValidationError({"password": f"At least {MIN_PASSWORD} characters."})
        now = self._clock()
        with self._db.begin(SYSTEM) as session:
            taken = select(User.id).where(User.username == username)
            if session.scalar(taken) or session.scalar(select(Organization.id).where(Organization.name == username)):
                raise ValidationError({"username": (f"{username!r} is taken; choose another name.", "unique")})
            user = User(
                id=uuid7(),
                username=username,
                email=email,
                password_hash=self._hasher.hash(password),
                is_operator=is_operator,
                created_at=now,
            )
            organization = Organization(id=uuid7(), name=username, personal_user_id=user.id, created_at=now)
            session.add_all([user, organization])
            session.flush()
            session.add(OrganizationMembership(organization_id=organization.id, user_id=user.id, role="owner"))
            self._audit.record(
                session,
                "user.created",
                actor="system",
                organization_id=organization.id,
                subject=user.id,
                username=username,
                is_operator=is_operator,
            )
            return user.id, password

    def reset_password(self, username: str, password: str | None = None) -> str:
        """A new password; every session and token of the user ends. Raises NotFoundError."""
        password = password or new_token()[:20]
        if len(password) < MIN_PASSWORD:
            raise ValidationError({"password": f"At least {MIN_PASSWORD} characters."})
        now = self._clock()
        with self._db.begin(SYSTEM) as session:
            user = self._named(session, username)
            user.password_hash = self._hasher.hash(password)
            self._end_everything(session, user.id, now)
            self._audit.record(session, "user.password_reset", actor="system", subject=user.id)
        return password

    def disable_user(self, username: str) -> None:
        """Nothing opens this account from now on; its sessions and tokens end. Raises NotFoundError."""
        now = self._clock()
        with self._db.begin(SYSTEM) as session:
            user = self._named(session, username)
            user.disabled_at = now
            self._end_everything(session, user.id, now)
            self._audit.record(session, "user.disabled", actor="system", subject=user.id)

    def authenticate(self, username: str, password: str, address: str) -> str:
        """The user's id. Raises ValidationError (same time and text for an unknown user) or TooManyError."""
        reserved = self._reserve(username, address)
        dummy = self._dummy
        with self._db.read(SYSTEM) as session:
            user = session.scalar(select(User).where(User.username == username, User.disabled_at.is_(None)))
            stored = user.password_hash if user and user.password_hash else dummy
            user_id = user.id if user else None
        try:
            self._hasher.verify(stored, password)
        except (VerificationError, InvalidHashError):
            user_id = None
        if user_id is None or stored is dummy:
            raise ValidationError({"non_field_errors": (WRONG_LOGIN, "authorization")})
        with self._db.begin(SYSTEM) as session:
            session.execute(delete(LoginFailure).where(LoginFailure.id.in_(reserved)))
            self._audit.record(session, "login.accepted", actor=user_id, address=address, subject=user_id)
        return user_id

    def create_token(self, user_id: str, name: str) -> str:
        """A new API token; this is the only time that it can be read.

        When the user has as many as can be, the oldest one that a login made ends. Raises LimitReachedError.
        """
        token = new_token()
        with self._db.begin(SYSTEM) as session:
            self._make_room(session, user_id)
            row = Token(id=uuid7(), user_id=user_id, digest=digest(token), name=name[:128], created_at=self._clock())
            session.add(row)
            self._audit.record(session, "token.created", actor=user_id, subject=row.id, name=name)
        return token

    def tokens(self, user_id: str) -> list[Token]:
        """Tokens of a user that still open something, newest first."""
        now = self._clock()
        query = select(Token).where(
            Token.user_id == user_id,
            Token.revoked_at.is_(None),
            or_(Token.expires_at.is_(None), Token.expires_at > now),
        )
        with self._db.read(SYSTEM) as session:
            return list(session.scalars(query.order_by(Token.created_at.desc(), Token.id.desc())))

    def revoke_token(self, user_id: str, token_id: str) -> None:
        """End one of the user's own tokens. Raises NotFoundError."""
        with self._db.begin(SYSTEM) as session:
            row = session.get(Token, token_id) if is_id(token_id) else None
            if row is None or row.user_id != user_id or row.revoked_at is not None:
                raise NotFoundError
            row.revoked_at = self._clock()
            self._audit.record(session, "token.revoked", actor=user_id, subject=row.id)

    def start_session(self, user_id: str, address: str) -> Login:
        """A browser session with a fresh id."""
        login = Login(cookie=new_token(), csrf=new_token())
        now = self._clock()
        with self._db.begin(SYSTEM) as session:
            session.add(
                BrowserSession(
                    user_id=user_id,
                    digest=digest(login.cookie),
                    csrf=login.csrf,
                    address=address,
                    created_at=now,
                    expires_at=now + self._session_ttl,
                )
            )
        return login

    def end_session(self, cookie: str) -> None:
        """Sign out: the cookie opens nothing from now on."""
        with self._db.begin(SYSTEM) as session:
            row = session.scalar(select(BrowserSession).where(BrowserSession.digest == digest(cookie)))
            if row is None or row.ended_at is not None:
                return
            row.ended_at = self._clock()
            self._audit.record(session, "logout", actor=row.user_id, address=row.address, subject=row.user_id)

    def actor_of_token(self, token: str) -> Actor | None:
        """Who sent this token, or None."""
        now = self._clock()
        with self._db.read(SYSTEM) as session:
            user = session.scalar(
                select(User)
                .join(Token, Token.user_id == User.id)
                .where(
                    Token.digest == digest(token),
                    Token.revoked_at.is_(None),
                    or_(Token.expires_at.is_(None), Token.expires_at > now),
                    User.disabled_at.is_(None),
                )
            )
            return self._actor(session, user) if user else None

    def actor_of_cookie(self, cookie: str) -> tuple[Actor, str] | None:
        """Whose browser session this is, with its CSRF token; or None."""
        with self._db.read(SYSTEM) as session:
            row = session.execute(
                select(User, BrowserSession.csrf)
                .join(BrowserSession, BrowserSession.user_id == User.id)
                .where(
                    BrowserSession.digest == digest(cookie),
                    BrowserSession.ended_at.is_(None),
                    BrowserSession.expires_at > self._clock(),
                    User.disabled_at.is_(None),
                )
            ).first()
            return (self._actor(session, row[0]), row[1]) if row else None

    def user(self, user_id: str) -> User:
        """A user's row. Raises NotFoundError."""
        with self._db.read(SYSTEM) as session:
            user = session.get(User, user_id)
            if user is None:
                raise NotFoundError
            return user

    def organizations_of(self, actor: Actor) -> list[Organization]:
        """Organisations that the actor belongs to, the personal one first."""
        with self._db.read(SYSTEM) as session:
            rows = session.scalars(
                select(Organization).where(Organization.id.in_(actor.organizations)).order_by(Organization.name)
            ).all()
        return sorted(rows, key=lambda row: (row.personal_user_id != actor.user_id, row.name))

    def _actor(self, session: Session, user: User) -> Actor:
        organizations = session.execute(
            select(OrganizationMembership.organization_id, OrganizationMembership.role).where(
                OrganizationMembership.user_id == user.id
            )
        ).all()
        teams = select(TeamMembership.team_id).where(TeamMembership.user_id == user.id)
        memberships = session.scalars(
            select(ProjectMembership).where(
                or_(ProjectMembership.user_id == user.id, ProjectMembership.team_id.in_(teams))
            )
        ).all()
        projects: dict[str, str] = {}
        for row in memberships:
            if _STRENGTH[row.role] >= _STRENGTH.get(projects.get(row.project_id, ""), -1):
                projects[row.project_id] = row.role
        return Actor(
            user_id=user.id,
            username=user.username,
            is_operator=user.is_operator,
            organizations={row[0]: row[1] for row in organizations},
            projects=projects,
            project_organizations=frozenset(row.organization_id for row in memberships),
        )

    @cached_property
    def _dummy(self) -> str:
        """What an unknown user's password is held against, so that it costs as much as a known one's."""
        return self._hasher.hash(new_token())

    def _reserve(self, username: str, address: str) -> list[str]:
        """Count this try as wrong until it is known to be right, so that tries at once can't pass the limit together.

        Returns ids of the rows to take back. Raises TooManyError.
        """
        now = self._clock()
        subjects = (f"user:{username}"[:128], f"address:{address}"[:128])
        with self._db.begin(SYSTEM) as session:
            session.execute(delete(LoginFailure).where(LoginFailure.at < now - timedelta(hours=1)))
            blocked = any(self._failures(session, subject, now) >= self._attempts for subject in subjects)
            rows = [] if blocked else [LoginFailure(id=uuid7(), subject=subject, at=now) for subject in subjects]
            session.add_all(rows)
            action = "login.throttled" if blocked else "login.tried"
            self._audit.record(session, action, address=address, username=username)
        if blocked:
            raise TooManyError("Too many wrong passwords; wait a minute and try again.", retry_after=LOGIN_WINDOW)
        return [row.id for row in rows]

    def _make_room(self, session: Session, user_id: str) -> None:
        now = self._clock()
        query = select(Token).where(
            Token.user_id == user_id,
            Token.revoked_at.is_(None),
            or_(Token.expires_at.is_(None), Token.expires_at > now),
        )
        living = session.scalars(query.order_by(Token.created_at, Token.id)).all()
        if len(living) < self._limits.most("tokens"):
            return
        oldest = next((row for row in living if row.name == MADE_BY_LOGIN), None)
        if oldest is None:
            self._limits.check("tokens", len(living) + 1)
            return
        oldest.revoked_at = now

    @staticmethod
    def _failures(session: Session, subject: str, now: datetime) -> int:
        since = now - timedelta(seconds=LOGIN_WINDOW)
        counted = select(func.count()).select_from(LoginFailure)
        return session.scalar(counted.where(LoginFailure.subject == subject, LoginFailure.at > since)) or 0

    @staticmethod
    def _named(session: Session, username: str) -> User:
        user = session.scalar(select(User).where(User.username == username))
        if user is None:
            raise NotFoundError(f"No user {username!r}.")
        return user

    @staticmethod
    def _end_everything(session: Session, user_id: str, now: datetime) -> None:
        sessions = update(BrowserSession).where(BrowserSession.user_id == user_id, BrowserSession.ended_at.is_(None))
        session.execute(sessions.values(ended_at=now))
        tokens = update(Token).where(Token.user_id == user_id, Token.revoked_at.is_(None))
        session.execute(tokens.values(revoked_at=now))
