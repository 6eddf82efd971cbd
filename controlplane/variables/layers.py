"""What an execution's container sees: variables from every level, the nearer one winning.

Organisation < project < groups, in the order in which they are named < the step's defaults and the execution's own.
They are read when the execution starts: a secret that was changed while it waited is the new one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from controlplane.db.ids import is_id
from controlplane.errors import ValidationError
from controlplane.executions.models import Execution
from controlplane.executions.request import Variable
from controlplane.executions.variables import opened
from controlplane.projects.models import Project, ProjectVariable
from controlplane.projects.service import variable_context
from controlplane.security.vault import Vault
from controlplane.variables.models import GroupVariable, OrganizationVariable, VariableGroup


def organization_context(organization_id: str, name: str) -> str:
    """What the ciphertext of an organisation's variable is bound to."""
    return f"organization-variable:{organization_id}:{name}"


def group_context(group_id: str, name: str) -> str:
    """What the ciphertext of a group's variable is bound to."""
    return f"group-variable:{group_id}:{name}"


def layered(session: Session, vault: Vault, execution: Execution) -> tuple[dict[str, str], dict[str, str]]:
    """(plain, secret) values in clear. Raises VaultError."""
    found: dict[str, Variable] = {}
    if execution.options.get("inherit_variables", True):
        found |= _of_organization(session, vault, execution.organization_id)
        found |= _of_project(session, vault, execution.project_id)
    for group_id in execution.options.get("variable_groups", []):
        found |= _of_group(session, vault, group_id)
    found |= opened(execution, vault)
    plain = {name: variable.value for name, variable in found.items() if not variable.secret}
    return plain, {name: variable.value for name, variable in found.items() if variable.secret}


def group_ids(session: Session, project: Project, wanted: Sequence[str]) -> list[str]:
    """Ids of the groups that are named, by name or id, each once. Raises ValidationError."""
    query = select(VariableGroup).where(VariableGroup.organization_id == project.organization_id)
    rows = session.scalars(query.order_by(VariableGroup.name)).all() if wanted else []
    known = {row.name: row.id for row in rows} | {row.id: row.id for row in rows}
    for name in wanted:
        if name not in known:
            there = ", ".join(row.name for row in rows)[:500] or "none"
            raise ValidationError(
                {"environment_variable_groups": (f"No group {name[:80]!r}; there is: {there}.", "does_not_exist")}
            )
    return list(dict.fromkeys(known[name] for name in wanted))


def inherited_names(session: Session, project: Project, groups: Iterable[str], *, inherit: bool) -> frozenset[str]:
    """Names of variables that an execution of the project gets without giving them itself."""
    ids = [group for group in groups if is_id(group)]
    queries: list[Any] = [select(GroupVariable.name).where(GroupVariable.group_id.in_(ids))] if ids else []
    if inherit:
        of_organization = OrganizationVariable.organization_id == project.organization_id
        queries.append(select(OrganizationVariable.name).where(of_organization))
        queries.append(select(ProjectVariable.name).where(ProjectVariable.project_id == project.id))
    return frozenset(name for query in queries for name in session.scalars(query))


def _of_organization(session: Session, vault: Vault, organization_id: str) -> dict[str, Variable]:
    query = select(OrganizationVariable).where(OrganizationVariable.organization_id == organization_id)
    return {
        row.name: _open(vault, row, organization_context(organization_id, row.name)) for row in session.scalars(query)
    }


def _of_project(session: Session, vault: Vault, project_id: str) -> dict[str, Variable]:
    query = select(ProjectVariable).where(ProjectVariable.project_id == project_id)
    return {row.name: _open(vault, row, variable_context(project_id, row.name)) for row in session.scalars(query)}


def _of_group(session: Session, vault: Vault, group_id: str) -> dict[str, Variable]:
    query = select(GroupVariable).where(GroupVariable.group_id == group_id)
    return {row.name: _open(vault, row, group_context(group_id, row.name)) for row in session.scalars(query)}


def _open(vault: Vault, row: ProjectVariable | OrganizationVariable | GroupVariable, context: str) -> Variable:
    return Variable(vault.decrypt(row.value, context) if row.secret else row.value, row.secret)
