"""Environment variables of organisations and of groups. Works in the session that the caller gives."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from controlplane.audit.service import AuditService
from controlplane.clock import Clock
from controlplane.db.ids import is_id
from controlplane.errors import NotFoundError, ValidationError
from controlplane.limits import Limits
from controlplane.permissions import Actor, require
from controlplane.projects.service import check_variable
from controlplane.security.vault import Vault
from controlplane.variables.layers import group_context, organization_context
from controlplane.variables.models import GroupVariable, OrganizationVariable, VariableGroup

GROUP_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,63}")
Row = OrganizationVariable | GroupVariable


class VariablesService:
    """What owners and admins of an organisation do with its variables. Secret values can't be read again."""

    def __init__(self, clock: Clock, vault: Vault, audit: AuditService, limits: Limits) -> None:
        self._clock = clock
        self._vault = vault
        self._audit = audit
        self._limits = limits

    def of_organization(self, session: Session, actor: Actor, organization_id: str) -> list[dict[str, Any]]:
        """The organisation's variables, by name. Raises NotFoundError."""
        require(actor, "organization.read", organization_id)
        query = select(OrganizationVariable).where(OrganizationVariable.organization_id == organization_id)
        return shown(session.scalars(query.order_by(OrganizationVariable.name)).all())

    def set(
        self, session: Session, actor: Actor, organization_id: str, name: str, value: str, *, secret: bool
    ) -> dict[str, Any]:
        """Make or replace one. Raises ValidationError, LimitReachedError."""
        require(actor, "organization.variable", organization_id)
        check_variable(name, value)
        of = OrganizationVariable.organization_id == organization_id
        row = session.scalar(select(OrganizationVariable).where(of, OrganizationVariable.name == name))
        if row is None:
            self._check_room(session, OrganizationVariable, of)
            row = OrganizationVariable(organization_id=organization_id, name=name)
            session.add(row)
        self._write(row, value, organization_context(organization_id, name), secret=secret)
        self._audit.by(session, actor, "variable.set", organization_id, organization_id, variable=name, secret=secret)
        return shown([row])[0]

    def delete(self, session: Session, actor: Actor, organization_id: str, name: str) -> None:
        """Remove one. Raises NotFoundError."""
        require(actor, "organization.variable", organization_id)
        of = OrganizationVariable.organization_id == organization_id
        row = session.scalar(select(OrganizationVariable).where(of, OrganizationVariable.name == name))
        if row is None:
            raise NotFoundError(f"The organisation has no variable {name[:80]!r}.")
        session.delete(row)
        self._audit.by(session, actor, "variable.deleted", organization_id, organization_id, variable=name)

    def groups(self, session: Session, actor: Actor, organization_id: str) -> list[dict[str, Any]]:
        """Groups with their variables, by name. Raises NotFoundError."""
        require(actor, "organization.read", organization_id)
        query = select(VariableGroup).where(VariableGroup.organization_id == organization_id)
        return [self.shown_group(session, row) for row in session.scalars(query.order_by(VariableGroup.name))]

    def create_group(self, session: Session, actor: Actor, organization_id: str, name: str) -> VariableGroup:
        """An empty group. Raises ValidationError, LimitReachedError."""
        require(actor, "organization.variable", organization_id)
        if not GROUP_NAME.fullmatch(name) or is_id(name):
            raise ValidationError({"name": "1 to 64 letters, digits, blanks, '.', '_' or '-', and no id."})
        of = VariableGroup.organization_id == organization_id
        if session.scalar(select(VariableGroup.id).where(of, VariableGroup.name == name)):
            raise ValidationError({"name": (f"There is a group {name!r}; choose another name.", "unique")})
        count = session.scalar(select(func.count()).select_from(VariableGroup).where(of)) or 0
        self._limits.check("variable_groups", count + 1)
        row = VariableGroup(organization_id=organization_id, name=name, created_at=self._clock())
        session.add(row)
        session.flush()
        self._audit.by(session, actor, "variable_group.created", organization_id, row.id, name=name)
        return row

    def delete_group(self, session: Session, actor: Actor, organization_id: str, group_id: str) -> None:
        """Remove a group with its variables; executions that wait for it start without them. Raises NotFoundError."""
        row = self._group(session, actor, organization_id, group_id)
        session.execute(delete(GroupVariable).where(GroupVariable.group_id == row.id))
        session.delete(row)
        self._audit.by(session, actor, "variable_group.deleted", organization_id, row.id, name=row.name)

    def set_in_group(
        self,
        session: Session,
        actor: Actor,
        organization_id: str,
        group_id: str,
        name: str,
        value: str,
        *,
        secret: bool,
    ) -> dict[str, Any]:
        """Make or replace a variable of a group. Raises NotFoundError, ValidationError, LimitReachedError."""
        group = self._group(session, actor, organization_id, group_id)
        check_variable(name, value)
        of = GroupVariable.group_id == group.id
        row = session.scalar(select(GroupVariable).where(of, GroupVariable.name == name))
        if row is None:
            self._check_room(session, GroupVariable, of)
            row = GroupVariable(organization_id=organization_id, group_id=group.id, name=name)
            session.add(row)
        self._write(row, value, group_context(group.id, name), secret=secret)
        self._audit.by(session, actor, "variable.set", organization_id, group.id, variable=name, secret=secret)
        return shown([row])[0]

    def delete_in_group(self, session: Session, actor: Actor, organization_id: str, group_id: str, name: str) -> None:
        """Remove a variable of a group. Raises NotFoundError."""
        group = self._group(session, actor, organization_id, group_id)
        found = select(GroupVariable).where(GroupVariable.group_id == group.id, GroupVariable.name == name)
        row = session.scalar(found)
        if row is None:
            raise NotFoundError(f"The group has no variable {name[:80]!r}.")
        session.delete(row)
        self._audit.by(session, actor, "variable.deleted", organization_id, group.id, variable=name)

    def shown_group(self, session: Session, row: VariableGroup) -> dict[str, Any]:
        """The API's form."""
        query = select(GroupVariable).where(GroupVariable.group_id == row.id).order_by(GroupVariable.name)
        return {"id": row.id, "name": row.name, "variables": shown(session.scalars(query).all())}

    def _group(self, session: Session, actor: Actor, organization_id: str, group_id: str) -> VariableGroup:
        require(actor, "organization.variable", organization_id)
        row = session.get(VariableGroup, group_id) if is_id(group_id) else None
        if row is None or row.organization_id != organization_id:
            raise NotFoundError
        return row

    def _check_room(self, session: Session, table: type[Row], of: Any) -> None:
        count = session.scalar(select(func.count()).select_from(table).where(of)) or 0
        self._limits.check("variables", count + 1)

    def _write(self, row: Row, value: str, context: str, *, secret: bool) -> None:
        row.value = self._vault.encrypt(value, context) if secret else value
        row.secret = secret


def shown(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """The API's form; secret values are never in it."""
    return [{"name": row.name, "value": None if row.secret else row.value, "secret": row.secret} for row in rows]
