"""Users, tokens, sessions and who may do what."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta

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
from controlplane.clock import Clock
from controlplane.db.ids import uuid7
from controlplane.db.session import SYSTEM, Database
from controlplane.errors import NotFoundError, TooManyError, ValidationError
from controlplane.permissions import Actor
from controlplane.projects.models import ProjectMembership
from controlplane.security.signing import digest, new_token

USERNAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
MIN_PASSWORD = 10
_STRENGTH = {"viewer": 0, "contributor": 1, "admin": 2}


@dataclass(frozen=True)
class Login:
    """A new browser session: the cookie's value (kept nowhere else) and the CSRF token of its forms."""

    cookie: str
    csrf: str


class AccountsService:
    """Accounts of people. Reads and writes with its own transactions."""

    def __init__(self, db: Database, clock: Clock, session_ttl: int, attempts_per_minute: int) -> None:
        self._db = db
        self._clock = clock
        self._session_ttl = timedelta(seconds=session_ttl)
        self._attempts = attempts_per_minute
        self._hasher = PasswordHasher()
        self._dummy = self._hasher.hash(new_token())

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
            return user.id, password

    def reset_password(self, username: str, password: str | None = None) -> str:
        """A new password; every session and token of the user ends. Raises NotFoundError."""
        password = password or new_token()[:20]
        if len(password) < MIN_PASSWORD:
            raise ValidationError({"password": f"At least {MIN_PASSWORD} characters."})
        now = self._clock()
        with self._db.begin(SYSTEM) as session:
            user = session.scalar(select(User).where(User.username == username))
            if user is None:
                raise NotFoundError(f"No user {username!r}.")
            user.password_hash = self._hasher.hash(password)
            session.execute(update(BrowserSession).where(BrowserSession.user_id == user.id).values(ended_at=now))
            session.execute(update(Token).where(Token.user_id == user.id).values(revoked_at=now))
        return password

    def authenticate(self, username: str, password: str, address: str) -> str:
        """The user's id. Raises ValidationError (same time and text for an unknown user) or TooManyError."""
        self._check_rate(username, address)
        with self._db.read(SYSTEM) as session:
            user = session.scalar(select(User).where(User.username == username, User.disabled_at.is_(None)))
            stored = user.password_hash if user and user.password_hash else self._dummy
            user_id = user.id if user else None
        try:
            self._hasher.verify(stored, password)
        except (VerificationError, InvalidHashError):
            user_id = None
        if user_id is None or stored is self._dummy:
            self._note_failure(username, address)
            raise ValidationError({"non_field_errors": ("Unable to log in with these credentials.", "authorization")})
        return user_id

    def create_token(self, user_id: str, name: str) -> str:
        """A new API token; this is the only time that it can be read."""
        token = new_token()
        with self._db.begin(SYSTEM) as session:
            session.add(Token(user_id=user_id, digest=digest(token), name=name, created_at=self._clock()))
        return token

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
            session.execute(
                update(BrowserSession).where(BrowserSession.digest == digest(cookie)).values(ended_at=self._clock())
            )

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

    def _check_rate(self, username: str, address: str) -> None:
        since = self._clock() - timedelta(minutes=1)
        with self._db.read(SYSTEM) as session:
            for subject in (f"user:{username}"[:128], f"address:{address}"):
                count = session.scalar(
                    select(func.count())
                    .select_from(LoginFailure)
                    .where(LoginFailure.subject == subject, LoginFailure.at > since)
                )
                if (count or 0) >= self._attempts:
                    raise TooManyError("Too many wrong passwords; wait a minute and try again.", retry_after=60)

    def _note_failure(self, username: str, address: str) -> None:
        now = self._clock()
        with self._db.begin(SYSTEM) as session:
            session.execute(delete(LoginFailure).where(LoginFailure.at < now - timedelta(hours=1)))
            session.add_all(
                [
                    LoginFailure(subject=f"user:{username}"[:128], at=now),
                    LoginFailure(subject=f"address:{address}", at=now),
                ]
            )
