"""Projects and their environment variables. Works in the session that the caller gives."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from controlplane.accounts.models import Organization, Team, User
from controlplane.audit.service import AuditService
from controlplane.clock import Clock, api_time
from controlplane.data.stores.base import StoreError
from controlplane.data.stores.keys import check_key
from controlplane.db.ids import is_id
from controlplane.environments.service import visible_groups
from controlplane.errors import ConflictError, NotFoundError, ValidationError
from controlplane.executions.models import FINAL, INCOMPLETE, Execution
from controlplane.git.resolving import of_project
from controlplane.git.service import RepositoriesService
from controlplane.limits import Limits
from controlplane.permissions import Actor, can, require
from controlplane.projects.models import Project, ProjectMembership, ProjectVariable
from controlplane.security.vault import Vault
from controlplane.stores.access import find_writable

PROJECT_NAME = re.compile(r"[^\W_][\w .-]{0,126}")
VARIABLE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,254}")
MAX_VALUE = 64_000


def check_variable(name: str, value: str) -> None:
    """Raise ValidationError for a name or value that no container can have."""
    if not VARIABLE_NAME.fullmatch(name):
        raise ValidationError({"name": "Letters, digits and '_', not beginning with a digit."})
    if len(value) > MAX_VALUE or "\0" in value:
        raise ValidationError({"value": f"At most {MAX_VALUE} characters, and no NUL."})


def variable_context(project_id: str, name: str) -> str:
    """What a project variable's ciphertext is bound to."""
    return f"project-variable:{project_id}:{name}"


@dataclass(frozen=True)
class Changes:
    """What a project is to have from now on; None leaves it, an empty default takes it away."""

    name: str | None = None
    description: str | None = None
    yaml_path: str | None = None
    default_environment: str | None = None
    default_store: str | None = None


class ProjectsService:
    """What people do with projects."""

    def __init__(
        self,
        clock: Clock,
        vault: Vault,
        public_url: str,
        repositories: RepositoriesService,
        audit: AuditService | None = None,
        limits: Limits | None = None,
    ) -> None:
        self._repositories = repositories
        self._audit = audit or AuditService(clock)
        self._limits = limits or Limits()
        self._clock = clock
        self._vault = vault
        self._public_url = public_url

    def list(self, session: Session, actor: Actor) -> list[Project]:
        """Projects that the actor may read, by name."""
        rows = session.scalars(select(Project).where(Project.deleted_at.is_(None)).order_by(Project.name)).all()
        return [row for row in rows if can(actor, "project.read", row.organization_id, row.id)]

    def get(self, session: Session, actor: Actor, project_id: str, action: str = "project.read") -> Project:
        """A project that the actor may do `action` with. Raises NotFoundError, PermissionDeniedError."""
        row = session.get(Project, project_id) if is_id(project_id) else None
        if row is None or row.deleted_at is not None:
            raise NotFoundError
        require(actor, action, row.organization_id, row.id)
        return row

    def create(self, session: Session, actor: Actor, name: str, description: str, owner: str) -> Project:
        """A new project of `owner` (`org`, `org:team` or empty for the personal one). Raises ValidationError."""
        name = self._checked_name(name)
        organization, team = self._owner(session, actor, owner)
        require(actor, "project.create", organization.id)
        self._check_free(session, organization.id, name)
        of = (Project.organization_id == organization.id, Project.deleted_at.is_(None))
        count = session.scalar(select(func.count()).select_from(Project).where(*of)) or 0
        self._limits.check("projects", count + 1)
        project = Project(
            organization_id=organization.id,
            team_id=team.id if team else None,
            name=name,
            description=description,
            creator_id=actor.user_id,
            created_at=self._clock(),
        )
        session.add(project)
        session.flush()
        if team is not None:
            session.add(
                ProjectMembership(
                    organization_id=organization.id, project_id=project.id, team_id=team.id, role="contributor"
                )
            )
        self._note(session, actor, "project.created", project, name=name)
        return project

    def update(self, session: Session, actor: Actor, project_id: str, wanted: Changes) -> Project:
        """Change what is not None. Raises NotFoundError, PermissionDeniedError, ValidationError."""
        project = self.get(session, actor, project_id, "project.update")
        if wanted.name is not None and wanted.name.strip() != project.name:
            name = self._checked_name(wanted.name)
            self._check_free(session, project.organization_id, name)
            project.name = name
        if wanted.description is not None:
            project.description = wanted.description
        if wanted.yaml_path is not None:
            project.yaml_path = _checked_path(wanted.yaml_path)
        if wanted.default_environment is not None:
            project.default_environment_id = self._environment(session, project, wanted.default_environment)
        if wanted.default_store is not None:
            project.default_store_id = find_writable(session, project, wanted.default_store, "default_store")
        self._note(session, actor, "project.updated", project, name=project.name)
        return project

    def delete(self, session: Session, actor: Actor, project_id: str) -> None:
        """Hide it with all that it holds; its name is free again. Its repository's secrets and copies go.

        Code that executions ran from stays with them.

        Raises NotFoundError, PermissionDeniedError, ConflictError while something of it is not over.
        """
        project = self.get(session, actor, project_id, "project.delete")
        of = (Execution.project_id == project.id, Execution.state.in_(INCOMPLETE), Execution.deleted_at.is_(None))
        going = session.scalar(select(func.count()).select_from(Execution).where(*of)) or 0
        if going:
            raise ConflictError(f"{going} of its executions are not over; stop them first (`vh exec stop --all`).")
        if of_project(session, project.id) is not None:
            self._repositories.delete(session, actor, project)
        self._note(session, actor, "project.deleted", project, name=project.name)
        project.name = f"{project.name[:80]} (deleted {project.id})"
        project.deleted_at = self._clock()

    def ownership_options(self, session: Session, actor: Actor) -> list[str]:
        """Names that `owner` may take."""
        names: list[str] = []
        rows = session.scalars(select(Organization).where(Organization.id.in_(actor.organizations)))
        for row in sorted(rows, key=lambda r: (r.personal_user_id != actor.user_id, r.name)):
            if not can(actor, "project.create", row.id):
                continue
            names.append(row.name)
            teams = session.scalars(select(Team.name).where(Team.organization_id == row.id).order_by(Team.name))
            names.extend(f"{row.name}:{team}" for team in teams)
        return names

    def set_variable(
        self, session: Session, actor: Actor, project_id: str, name: str, value: str, secret: bool
    ) -> None:
        """Make or replace an environment variable; a secret one can't be read again. Raises ValidationError."""
        project = self.get(session, actor, project_id, "variable.write")
        check_variable(name, value)
        stored = self._vault.encrypt(value, variable_context(project.id, name)) if secret else value
        row = session.scalar(self._variable(project.id, name))
        if row is None:
            of = ProjectVariable.project_id == project.id
            count = session.scalar(select(func.count()).select_from(ProjectVariable).where(of)) or 0
            self._limits.check("variables", count + 1)
            row = ProjectVariable(organization_id=project.organization_id, project_id=project.id, name=name)
            session.add(row)
        row.value, row.secret = stored, secret
        self._note(session, actor, "variable.set", project, variable=name, secret=secret)

    def delete_variable(self, session: Session, actor: Actor, project_id: str, name: str) -> None:
        """Remove a variable. Raises NotFoundError."""
        project = self.get(session, actor, project_id, "variable.write")
        row = session.scalar(self._variable(project.id, name))
        if row is None:
            raise NotFoundError(f"The project has no variable {name!r}.")
        session.delete(row)
        self._note(session, actor, "variable.deleted", project, variable=name)

    def _note(self, session: Session, actor: Actor, action: str, project: Project, **payload: Any) -> None:
        self._audit.by(session, actor, action, project.organization_id, project.id, **payload)

    def summary(self, session: Session, project_ids: list[str]) -> dict[str, dict[str, int]]:
        """Per project: executions by state, and `count` of all."""
        rows = session.execute(
            select(Execution.project_id, Execution.state, func.count())
            .where(Execution.project_id.in_(project_ids), Execution.deleted_at.is_(None))
            .group_by(Execution.project_id, Execution.state)
        )
        found = {pid: {"count": 0, **{f"{state}_count": 0 for state in (*INCOMPLETE, *FINAL)}} for pid in project_ids}
        for project_id, state, count in rows:
            found[project_id][f"{state}_count"] = count
            found[project_id]["count"] += count
        return found

    def serialize(self, session: Session, project: Project) -> dict[str, Any]:
        """The API's form; secret values are never in it."""
        return self.serialize_all(session, [project])[0]

    def serialize_all(self, session: Session, projects: list[Project]) -> list[dict[str, Any]]:
        """The API's form of several, with three queries in all."""
        ids = [project.id for project in projects]
        owners: dict[str, Organization] = {
            row.id: row
            for row in session.scalars(
                select(Organization).where(Organization.id.in_({project.organization_id for project in projects}))
            )
        }
        variables: dict[str, dict[str, Any]] = {project_id: {} for project_id in ids}
        rows = session.scalars(
            select(ProjectVariable).where(ProjectVariable.project_id.in_(ids)).order_by(ProjectVariable.name)
        )
        for row in rows:
            variables[row.project_id][row.name] = {"value": None if row.secret else row.value, "secret": row.secret}
        summaries = self.summary(session, ids)
        return [
            self._form(project, owners.get(project.organization_id), variables[project.id], summaries[project.id])
            for project in projects
        ]

    def _form(
        self, project: Project, owner: Organization | None, variables: dict[str, Any], summary: dict[str, int]
    ) -> dict[str, Any]:
        return {
            "id": project.id,
            "name": project.name,
            "description": project.description,
            "owner": {"id": owner.id, "username": owner.name} if owner else None,
            "ctime": api_time(project.created_at),
            "yaml_path": project.yaml_path,
            "default_environment": project.default_environment_id,
            "default_store": project.default_store_id,
            "execution_summary": summary,
            "environment_variables": variables,
            "urls": {"display": f"{self._public_url}/projects/{project.id}/"},
            "url": f"{self._public_url}/api/v0/projects/{project.id}/",
        }

    def creator_name(self, session: Session, user_id: str | None) -> str:
        """Name of a user, or empty."""
        user = session.get(User, user_id) if user_id else None
        return user.username if user else ""

    def _owner(self, session: Session, actor: Actor, owner: str) -> tuple[Organization, Team | None]:
        name, _, team_name = owner.partition(":")
        wanted = select(Organization).where(Organization.id.in_(actor.organizations))
        wanted = wanted.where(Organization.name == name if name else Organization.personal_user_id == actor.user_id)
        organization = session.scalar(wanted)
        if organization is None:
            options = ", ".join(self.ownership_options(session, actor))
            raise ValidationError({"owner": (f"No owner {owner!r}; one of: {options}.", "does_not_exist")})
        team = None
        if team_name:
            team = session.scalar(select(Team).where(Team.organization_id == organization.id, Team.name == team_name))
            if team is None:
                raise ValidationError({"owner": (f"{name} has no team {team_name!r}.", "does_not_exist")})
        return organization, team

    @staticmethod
    def _checked_name(name: str) -> str:
        name = name.strip()
        if not PROJECT_NAME.fullmatch(name):
            raise ValidationError(
                {"name": "1 to 127 letters, digits, blanks, '.', '_' or '-'; the first is a letter or digit."}
            )
        return name

    @staticmethod
    def _check_free(session: Session, organization_id: str, name: str) -> None:
        of = (Project.organization_id == organization_id, Project.name == name, Project.deleted_at.is_(None))
        if session.scalar(select(Project.id).where(*of)):
            raise ValidationError({"name": (f"There is a project {name!r}; choose another name.", "unique")})

    @staticmethod
    def _environment(session: Session, project: Project, wanted: str) -> str | None:
        if not wanted:
            return None
        groups = visible_groups(session, frozenset({project.organization_id}))
        found = [group.id for group in groups if wanted in (group.id, group.slug)]
        if len(found) != 1:
            known = ", ".join(group.slug for group in groups)[:500] or "none"
            raise ValidationError(
                {"default_environment": (f"No environment {wanted[:80]!r}; there is: {known}.", "does_not_exist")}
            )
        return found[0]

    @staticmethod
    def _variable(project_id: str, name: str) -> Any:
        return select(ProjectVariable).where(ProjectVariable.project_id == project_id, ProjectVariable.name == name)


def _checked_path(path: str) -> str:
    try:
        return check_key(path)
    except StoreError as error:
        raise ValidationError({"yaml_path": f"A path below the code's folder is expected: {error}."}) from error
