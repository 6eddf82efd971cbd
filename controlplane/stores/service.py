"""Stores that people add: made, changed, shown, removed. Works in the caller's session; secrets are never shown."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from controlplane.accounts.models import Organization, Team
from controlplane.audit.service import AuditService
from controlplane.clock import Clock, api_time
from controlplane.data.models import Datum
from controlplane.data.stores.config import KINDS, read_config, split
from controlplane.data.stores.opening import StoreOpener
from controlplane.db.ids import is_id, uuid7
from controlplane.environments.models import Store, StoreTeam
from controlplane.errors import ConflictError, NotFoundError, PermissionDeniedError, ValidationError
from controlplane.executions.models import INCOMPLETE, Execution
from controlplane.limits import Limits
from controlplane.permissions import Actor, can, require
from controlplane.projects.models import Project
from controlplane.stores import uris
from controlplane.stores.access import ACCESS, ruling_project, usable_stores
from controlplane.stores.request import NewStore, StoreChanges

NAME = re.compile(r"[A-Za-z0-9][\w .-]{0,63}")


class StoresService:
    """What people do with stores."""

    def __init__(self, opener: StoreOpener, public_url: str, clock: Clock, audit: AuditService, limits: Limits) -> None:
        self._opener = opener
        self._public_url = public_url
        self._clock = clock
        self._audit = audit
        self._limits = limits

    def of_project(self, session: Session, project: Project) -> list[Store]:
        """Stores that a project may use."""
        return usable_stores(session, project)

    def list(self, session: Session, actor: Actor) -> list[Store]:
        """Stores of the actor's organisations, as far as the actor may see them, by name."""
        query = select(Store).where(Store.organization_id.in_(actor.scope.organizations))
        rows = session.scalars(query.order_by(Store.name, Store.id))
        return [row for row in rows if can(actor, "store.read", row.organization_id, ruling_project(row))]

    def get(self, session: Session, actor: Actor, store_id: str, action: str = "store.read") -> Store:
        """A store that somebody added. Raises NotFoundError, PermissionDeniedError."""
        row = session.get(Store, store_id) if is_id(store_id) else None
        if row is None or row.organization_id is None:
            raise NotFoundError
        require(actor, action, row.organization_id, ruling_project(row))
        return row

    def usable(self, session: Session, project: Project, store_id: str) -> Store:
        """A store that this project may use. Raises NotFoundError."""
        for row in usable_stores(session, project):
            if row.id == store_id:
                return row
        raise NotFoundError

    def create(self, session: Session, actor: Actor, wanted: NewStore) -> Store:
        """A new store. Raises ValidationError, PermissionDeniedError, LimitReachedError."""
        kind = _kind(wanted.type)
        project = self._project(session, actor, wanted.project)
        organization = self._owner(session, actor, wanted.owner, project)
        access = wanted.access_mode or ("single_project" if project else "owner_organization")
        self._check_access(actor, access, project)
        require(actor, "store.manage", organization, project.id if project and access == "single_project" else None)
        config, secrets = split(read_config(kind, wanted.configuration))
        _check_role(actor, organization, "", config)
        count = session.scalar(select(func.count()).select_from(Store).where(Store.organization_id == organization))
        self._limits.check("stores", (count or 0) + 1)
        store_id = uuid7()
        row = Store(
            id=store_id,
            organization_id=organization,
            project_id=project.id if project and access == "single_project" else None,
            name=self._free_name(session, organization, wanted.name),
            purpose="data",
            kind=kind,
            access=access,
            allow_read=wanted.allow_read,
            allow_write=wanted.allow_write,
            config=config,
            secrets=self._opener.seal(store_id, secrets),
            creator_id=actor.user_id,
            created_at=self._clock(),
        )
        session.add(row)
        session.flush()
        self._share(session, row, wanted.teams)
        self._note(session, actor, "store.created", row)
        return row

    def update(self, session: Session, actor: Actor, row: Store, wanted: StoreChanges) -> Store:
        """Change what is not None; a secret that is left out stays. Raises ValidationError, PermissionDeniedError."""
        if wanted.access_mode is not None and wanted.access_mode != row.access:
            project = session.get(Project, row.project_id) if row.project_id else None
            self._check_access(actor, wanted.access_mode, project)
            if not can(actor, "store.manage", row.organization_id):
                raise PermissionDeniedError("Opening a store to others is for owners and admins of its organisation.")
            row.access = wanted.access_mode
        if wanted.name is not None and wanted.name.strip() != row.name:
            assert row.organization_id is not None
            row.name = self._free_name(session, row.organization_id, wanted.name)
        if wanted.configuration is not None:
            kept = self._opener.secrets(row)
            config, secrets = split(read_config(row.kind, {**row.config, **kept, **wanted.configuration}))
            self._check_place(session, row, config)
            _check_leads(row, config, kept.keys() - wanted.configuration.keys())
            _check_role(actor, row.organization_id, str(row.config.get("role_arn", "")), config)
            row.config, row.secrets = config, self._opener.seal(row.id, secrets)
        for name in ("allow_read", "allow_write"):
            if getattr(wanted, name) is not None:
                setattr(row, name, getattr(wanted, name))
        if wanted.teams is not None:
            self._share(session, row, wanted.teams)
        self._note(session, actor, "store.updated", row)
        return row

    def delete(self, session: Session, actor: Actor, row: Store) -> None:
        """Forget it with its secrets; its bytes stay where they are. Raises ConflictError while it is needed."""
        kept = session.scalar(
            select(func.count()).select_from(Datum).where(Datum.store_id == row.id, Datum.purged_at.is_(None))
        )
        if kept:
            raise ConflictError(
                f"{kept} files that Remora knows are in {row.name}; purge them first, or let the store only be read."
            )
        if session.scalar(select(func.count()).select_from(Datum).where(Datum.store_id == row.id)):
            raise ConflictError(f"Purged files of {row.name} are still listed; let the store only be read instead.")
        defaults = session.scalars(select(Project.name).where(Project.default_store_id == row.id)).all()
        if defaults:
            raise ConflictError(
                f"{row.name} is the default store of {', '.join(defaults)[:300]}; choose another first."
            )
        if self._is_awaited(session, row):
            raise ConflictError(f"Executions that are not over will write to {row.name}; wait, or stop them.")
        for link in session.scalars(select(StoreTeam).where(StoreTeam.store_id == row.id)):
            session.delete(link)
        session.flush()
        session.delete(row)
        self._note(session, actor, "store.deleted", row)

    def serialize_all(self, session: Session, actor: Actor, rows: Sequence[Store]) -> list[dict[str, Any]]:
        """The API's form; of secrets only the names, of other people's stores not even how they are reached."""
        owners = _names(session, Organization, {row.organization_id for row in rows})
        projects = _names(session, Project, {row.project_id for row in rows})
        links = session.execute(
            select(StoreTeam.store_id, StoreTeam.team_id).where(StoreTeam.store_id.in_([row.id for row in rows]))
        )
        teams: dict[str, list[str]] = {}
        for store_id, team_id in links:
            teams.setdefault(store_id, []).append(team_id)
        return [self._form(actor, row, owners, projects, sorted(teams.get(row.id, []))) for row in rows]

    def serialize(self, session: Session, actor: Actor, row: Store) -> dict[str, Any]:
        """The API's form of one."""
        return self.serialize_all(session, actor, [row])[0]

    def _form(
        self, actor: Actor, row: Store, owners: dict[str, str], projects: dict[str, str], teams: Sequence[str]
    ) -> dict[str, Any]:
        owner, project = row.organization_id, row.project_id
        open_to = owner is not None and can(actor, "store.read", owner, ruling_project(row))
        return {
            "id": row.id,
            "name": row.name,
            "type": uris.API_TYPES[row.kind],
            "ctime": api_time(row.created_at),
            "deleted": False,
            "owner": {"id": owner, "username": owners.get(owner, "")} if owner else None,
            "project": {"id": project, "name": projects.get(project, "")} if project else None,
            "access_mode": row.access,
            "teams": list(teams) if open_to else [],
            "allow_read": row.allow_read,
            "allow_write": row.allow_write,
            "allow_adopt": row.allow_read and row.kind != "folder",
            "allow_uri_download": False,
            "configuration": row.config if open_to else {},
            "secrets": sorted(self._opener.secrets(row)) if open_to else [],
            "paths": {},
            "uri_prefix": uris.root_of(row.kind, row.config, row.id),
            "url": f"{self._public_url}/api/v0/stores/{row.id}/",
        }

    @staticmethod
    def _project(session: Session, actor: Actor, project_id: str | None) -> Project | None:
        if not project_id:
            return None
        row = session.get(Project, project_id) if is_id(project_id) else None
        if row is None or row.deleted_at is not None or not can(actor, "project.read", row.organization_id, row.id):
            raise ValidationError({"project": ("There is no such project.", "does_not_exist")})
        return row

    @staticmethod
    def _owner(session: Session, actor: Actor, owner: str, project: Project | None) -> str:
        if not owner and project is not None:
            return project.organization_id
        wanted = select(Organization).where(Organization.id.in_(actor.organizations))
        named = (
            (Organization.name == owner) | (Organization.id == owner) if is_id(owner) else Organization.name == owner
        )
        row = session.scalar(wanted.where(named if owner else Organization.personal_user_id == actor.user_id))
        if row is None or (project is not None and project.organization_id != row.id):
            raise ValidationError({"owner": (f"No owner {owner[:80]!r} for this.", "does_not_exist")})
        return row.id

    @staticmethod
    def _check_access(actor: Actor, access: str, project: Project | None) -> None:
        if access not in ACCESS:
            raise ValidationError({"access_mode": f"One of {', '.join(ACCESS)}."})
        if access == "public" and not can(actor, "store.publish"):
            raise PermissionDeniedError("Only an operator opens a store to every organisation (store.publish).")
        if access == "single_project" and project is None:
            raise ValidationError({"project": ("Name the project that may use it.", "required")})

    @staticmethod
    def _free_name(session: Session, organization_id: str, name: str) -> str:
        name = name.strip()
        if not NAME.fullmatch(name):
            raise ValidationError({"name": "1 to 64 letters, digits, blanks, '.', '_' or '-'."})
        if session.scalar(select(Store.id).where(Store.organization_id == organization_id, Store.name == name)):
            raise ValidationError({"name": (f"There is a store {name!r}; choose another name.", "unique")})
        return name

    @staticmethod
    def _share(session: Session, row: Store, teams: Sequence[str]) -> None:
        known = set(session.scalars(select(Team.id).where(Team.organization_id == row.organization_id)))
        if not set(teams) <= known:
            raise ValidationError({"teams": ("Ids of teams of the store's owner are expected.", "does_not_exist")})
        if row.access == "teams" and not teams:
            raise ValidationError({"teams": ("Name the teams that may use it.", "required")})
        for link in session.scalars(select(StoreTeam).where(StoreTeam.store_id == row.id)):
            session.delete(link)
        session.flush()
        session.add_all(StoreTeam(store_id=row.id, team_id=team) for team in sorted(set(teams)))
        session.flush()

    @staticmethod
    def _check_place(session: Session, row: Store, config: dict[str, Any]) -> None:
        """Files that are known there would be looked for somewhere else."""
        if uris.root_of(row.kind, config) == uris.root_of(row.kind, row.config):
            return
        if session.scalar(select(Datum.id).where(Datum.store_id == row.id).limit(1)):
            raise ValidationError({"configuration": "Files are known in it, so its place stays; add another store."})

    @staticmethod
    def _is_awaited(session: Session, row: Store) -> bool:
        query = select(Execution.options).where(
            Execution.organization_id == row.organization_id, Execution.state.in_(INCOMPLETE)
        )
        return any(options.get("store") == row.id for options in session.scalars(query))

    def _note(self, session: Session, actor: Actor, action: str, row: Store) -> None:
        self._audit.by(
            session, actor, action, row.organization_id, row.id, name=row.name, kind=row.kind, access=row.access
        )


def _check_leads(row: Store, config: dict[str, Any], kept: set[str]) -> None:
    """Secrets don't follow to another server: else whoever may change a store could have them sent to one of theirs."""
    if not kept or all(config.get(name) == row.config.get(name) for name in KINDS[row.kind].LEADS):
        return
    sentence = "The address is another one now: give the secret again, or empty."
    raise ValidationError({f"configuration.{name}": (sentence, "required") for name in sorted(kept)})


def _check_role(actor: Actor, organization: str | None, before: str, config: dict[str, Any]) -> None:
    """A role trusts the whole organisation, so no project's admin may take one on that is meant for another project."""
    role = str(config.get("role_arn", ""))
    if role and role != before and not can(actor, "store.manage", organization):
        raise PermissionDeniedError(
            "A role trusts the whole organisation: its owners and admins name it; or give a key."
        )


def _kind(given: str) -> str:
    kind = uris.KINDS.get(given)
    if kind is None:
        raise ValidationError({"type": (f"One of {', '.join(uris.KINDS)}.", "invalid")})
    return kind


def _names(session: Session, model: type[Organization] | type[Project], ids: set[str | None]) -> dict[str, str]:
    found = session.execute(select(model.id, model.name).where(model.id.in_(ids - {None})))
    return {row[0]: row[1] for row in found}
