"""Who there is: organisations, users, teams, memberships, tokens, browser sessions."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ForeignKey, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from controlplane.db.base import Base, HasId, Id


class Organization(HasId, Base):
    """The owner of everything; each user has a personal one (`personal_user_id`)."""

    __tablename__ = "organization"

    name: Mapped[str] = mapped_column(String(64), unique=True)
    personal_user_id: Mapped[str | None] = mapped_column(Id, unique=True)
    weight: Mapped[int] = mapped_column(default=1)
    created_at: Mapped[datetime]


class User(HasId, Base):
    """A person. `password_hash` is argon2id; None means that no password opens this account."""

    __tablename__ = "user"

    username: Mapped[str] = mapped_column(String(64), unique=True)
    email: Mapped[str] = mapped_column(String(254), default="")
    password_hash: Mapped[str | None] = mapped_column(String(255))
    is_operator: Mapped[bool] = mapped_column(default=False)
    disabled_at: Mapped[datetime | None]
    created_at: Mapped[datetime]


class OrganizationMembership(HasId, Base):
    """role: owner | admin | member | viewer."""

    __tablename__ = "organization_membership"
    __table_args__ = (UniqueConstraint("organization_id", "user_id"),)

    organization_id: Mapped[str] = mapped_column(Id, ForeignKey("organization.id"))
    user_id: Mapped[str] = mapped_column(Id, ForeignKey("user.id"), index=True)
    role: Mapped[str] = mapped_column(String(16))


class Team(HasId, Base):
    """Some members of an organisation."""

    __tablename__ = "team"
    __table_args__ = (UniqueConstraint("organization_id", "name"),)

    organization_id: Mapped[str] = mapped_column(Id, ForeignKey("organization.id"))
    name: Mapped[str] = mapped_column(String(64))


class TeamMembership(HasId, Base):
    """A user in a team."""

    __tablename__ = "team_membership"
    __table_args__ = (UniqueConstraint("team_id", "user_id"),)

    team_id: Mapped[str] = mapped_column(Id, ForeignKey("team.id"))
    user_id: Mapped[str] = mapped_column(Id, ForeignKey("user.id"), index=True)


class Token(HasId, Base):
    """An API token; only its SHA-256 is kept (tokens are random, so a plain hash is enough)."""

    __tablename__ = "token"

    user_id: Mapped[str] = mapped_column(Id, ForeignKey("user.id"), index=True)
    digest: Mapped[str] = mapped_column(String(64), unique=True)
    name: Mapped[str] = mapped_column(String(128), default="")
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]


class BrowserSession(HasId, Base):
    """A signed-in browser; the cookie's value is kept as SHA-256 only."""

    __tablename__ = "browser_session"

    user_id: Mapped[str] = mapped_column(Id, ForeignKey("user.id"), index=True)
    digest: Mapped[str] = mapped_column(String(64), unique=True)
    csrf: Mapped[str] = mapped_column(String(64))
    address: Mapped[str] = mapped_column(String(64), default="")
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]


class LoginLink(HasId, Base):
    """A link that opens one browser session; only its ticket's SHA-256 is kept. `target` is a path of this server."""

    __tablename__ = "login_link"

    user_id: Mapped[str] = mapped_column(Id, ForeignKey("user.id"), index=True)
    digest: Mapped[str] = mapped_column(String(64), unique=True)
    target: Mapped[str] = mapped_column(String(2048))
    expires_at: Mapped[datetime]
    used_at: Mapped[datetime | None]


class LoginFailure(HasId, Base):
    """A wrong password: what the login limit counts, by account and by address."""

    __tablename__ = "login_failure"

    subject: Mapped[str] = mapped_column(String(128), index=True)
    at: Mapped[datetime] = mapped_column(index=True)
