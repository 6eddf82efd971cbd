"""Teams: some members of an organisation, who own projects together. Works in the caller's session."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from controlplane.accounts.models import OrganizationMembership, Team, TeamMembership, User
from controlplane.audit.service import AuditService
from controlplane.db.ids import is_id, uuid7
from controlplane.environments.models import StoreTeam
from controlplane.errors import ConflictError, NotFoundError, ValidationError
from controlplane.limits import Limits
from controlplane.permissions import Actor, can, require
from controlplane.projects.models import Project, ProjectMembership

MAX_NAME = 64
SHOWN = 5


class TeamsService:
    """What owners and admins of an organisation do with its teams."""

    def __init__(self, audit: AuditService, limits: Limits) -> None:
        self._audit = audit
        self._limits = limits

    def get(self, session: Session, actor: Actor, team_id: str, action: str = "team.read") -> Team:
        """A team. Raises NotFoundError, PermissionDeniedError."""
        row = session.get(Team, team_id) if is_id(team_id) else None
        if row is None:
            raise NotFoundError
        require(actor, action, row.organization_id)
        return row

    def create(self, session: Session, actor: Actor, name: str, organization_id: str, members: Sequence[str]) -> Team:
        """A new team; an empty organisation is the only one in which the actor may make one.

        Raises ValidationError, NotFoundError, PermissionDeniedError, LimitReachedError.
        """
        organization_id = organization_id or self._only(actor)
        require(actor, "team.write", organization_id)
        count = session.scalar(select(func.count()).select_from(Team).where(Team.organization_id == organization_id))
        self._limits.check("teams", (count or 0) + 1)
        row = Team(id=uuid7(), organization_id=organization_id, name=self._checked(session, organization_id, name))
        session.add(row)
        session.flush()
        self._note(session, actor, "team.created", row)
        for member in dict.fromkeys(members):
            self.add(session, actor, row, member)
        return row

    def rename(self, session: Session, actor: Actor, row: Team, name: str) -> Team:
        """Give it another name. Raises ValidationError."""
        if name.strip() != row.name:
            row.name = self._checked(session, row.organization_id, name)
            self._note(session, actor, "team.renamed", row)
        return row

    def replace_members(self, session: Session, actor: Actor, row: Team, members: Sequence[str]) -> None:
        """Exactly these from now on. Raises ValidationError, LimitReachedError."""
        there = set(session.scalars(select(TeamMembership.user_id).where(TeamMembership.team_id == row.id)))
        wanted = {self._member(session, row, member) for member in members}
        for user_id in sorted(there - wanted):
            self.remove(session, actor, row, user_id)
        for user_id in sorted(wanted - there):
            self.add(session, actor, row, user_id)

    def add(self, session: Session, actor: Actor, row: Team, user: str) -> None:
        """Take somebody of the organisation in, named by id or name. Raises ValidationError, LimitReachedError."""
        user_id = self._member(session, row, user)
        of = TeamMembership.team_id == row.id
        if session.scalar(select(TeamMembership.id).where(of, TeamMembership.user_id == user_id)) is not None:
            return
        count = session.scalar(select(func.count()).select_from(TeamMembership).where(of)) or 0
        self._limits.check("team_members", count + 1)
        session.add(TeamMembership(id=uuid7(), team_id=row.id, user_id=user_id))
        session.flush()
        self._note(session, actor, "team.member_added", row, user=user_id)

    def remove(self, session: Session, actor: Actor, row: Team, user_id: str) -> None:
        """Take somebody out. Raises NotFoundError."""
        of = (TeamMembership.team_id == row.id, TeamMembership.user_id == user_id)
        found = session.scalar(select(TeamMembership).where(*of)) if is_id(user_id) else None
        if found is None:
            raise NotFoundError(f"{row.name} has no such member.")
        session.delete(found)
        session.flush()
        self._note(session, actor, "team.member_removed", row, user=user_id)

    def delete(self, session: Session, actor: Actor, row: Team) -> None:
        """Take it away with its roles in projects. Raises ConflictError while it owns projects or shares stores."""
        owned = select(Project.name).where(Project.team_id == row.id, Project.deleted_at.is_(None))
        names = session.scalars(owned.order_by(Project.name).limit(SHOWN)).all()
        if names:
            raise ConflictError(f"It owns projects ({', '.join(names)}); delete these first.", code="owns_projects")
        if session.scalar(select(StoreTeam.store_id).where(StoreTeam.team_id == row.id).limit(1)) is not None:
            raise ConflictError("A store is shared with it; take it out of that store's teams first.", code="in_use")
        self._note(session, actor, "team.deleted", row)
        for project in session.scalars(select(Project).where(Project.team_id == row.id)):
            project.team_id = None
        session.flush()
        session.execute(delete(ProjectMembership).where(ProjectMembership.team_id == row.id))
        session.execute(delete(TeamMembership).where(TeamMembership.team_id == row.id))
        session.delete(row)

    def serialize(self, session: Session, rows: Sequence[Team]) -> list[dict[str, Any]]:
        """The API's form of several, with one query in all."""
        members = session.execute(
            select(TeamMembership.team_id, User.id, User.username)
            .join(User, User.id == TeamMembership.user_id)
            .where(TeamMembership.team_id.in_([row.id for row in rows]))
            .order_by(User.username)
        ).all()
        return [
            {
                "id": row.id,
                "name": row.name,
                "organization": row.organization_id,
                "members": [{"id": member[1], "username": member[2]} for member in members if member[0] == row.id],
            }
            for row in rows
        ]

    @staticmethod
    def _only(actor: Actor) -> str:
        found = [one for one in actor.organizations if can(actor, "team.write", one)]
        if len(found) != 1:
            raise ValidationError({"organization": ("Name the organisation (its id) of the team.", "required")})
        return found[0]

    @staticmethod
    def _member(session: Session, row: Team, user: str) -> str:
        """Id of a member of the team's organisation; whoever is none can't be told from nobody."""
        named = (User.id == user.lower()) if is_id(user) else (User.username == user)
        of = (OrganizationMembership.organization_id == row.organization_id, User.disabled_at.is_(None), named)
        joined = select(User.id).join(OrganizationMembership, OrganizationMembership.user_id == User.id)
        found = session.scalar(joined.where(*of))
        if found is None:
            raise ValidationError(
                {"members": (f"The organisation has no member {user[:80]!r}; add them there first.", "does_not_exist")}
            )
        return found

    @staticmethod
    def _checked(session: Session, organization_id: str, name: str) -> str:
        name = name.strip()
        if not 0 < len(name) <= MAX_NAME or not name.isprintable() or ":" in name:
            raise ValidationError({"name": f"1 to {MAX_NAME} characters in one line, without ':'."})
        taken = select(Team.id).where(Team.organization_id == organization_id, Team.name == name)
        if session.scalar(taken) is not None:
            raise ValidationError({"name": (f"There is a team {name!r}; choose another name.", "unique")})
        return name

    def _note(self, session: Session, actor: Actor, action: str, row: Team, **payload: Any) -> None:
        self._audit.by(session, actor, action, row.organization_id, row.id, name=row.name, **payload)
