"""Who may do what: one table, role x action, asked through `can()`.

Roles of an organisation: owner, admin, member, viewer; of a project: admin, contributor, viewer. The strongest of
organisation, team and project role wins. `operator` owns the control plane, and sees no contents.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from controlplane.db.session import Scope
from controlplane.errors import NotFoundError, PermissionDeniedError

VIEW = frozenset({"owner", "admin", "member", "viewer", "project:admin", "project:contributor", "project:viewer"})
WORK = frozenset({"owner", "admin", "member", "project:admin", "project:contributor"})
MANAGE = frozenset({"owner", "admin", "project:admin"})
ANYBODY = frozenset({"user"})
OPERATOR = frozenset({"operator"})
ORGANIZATION_WORK = frozenset({"owner", "admin", "member"})
MEMBERS = frozenset({"owner", "admin", "member", "viewer"})

TABLE: dict[str, frozenset[str]] = {
    "self.read": ANYBODY,
    "self.write": ANYBODY,
    "server.read": ANYBODY,
    "environment.list": ANYBODY,
    "project.list": ANYBODY,
    "project.create": ORGANIZATION_WORK,
    "project.read": VIEW,
    "project.update": MANAGE,
    "project.delete": MANAGE,
    "organization.list": ANYBODY,
    "organization.read": MEMBERS,
    "team.read": MEMBERS,
    "team.write": frozenset({"owner", "admin"}),
    "organization.variable": frozenset({"owner", "admin"}),
    "variable.write": MANAGE,
    "commit.list": ANYBODY,
    "commit.read": VIEW,
    "commit.create": WORK,
    "commit.fetch": WORK,
    "repository.list": ANYBODY,
    "repository.write": MANAGE,
    "execution.list": ANYBODY,
    "execution.read": VIEW,
    "execution.create": WORK,
    "execution.stop": WORK,
    "execution.delete": WORK,
    "execution.tag": WORK,
    "execution.comment": WORK,
    "data.list": ANYBODY,
    "data.read": VIEW,
    "data.download": VIEW,
    "data.write": WORK,
    "data.upload": WORK,
    "data.purge": WORK,
    "store.list": ANYBODY,
    "store.read": VIEW,
    "store.manage": MANAGE,
    "store.adopt": WORK,
    "store.publish": OPERATOR,
    "api.describe": ANYBODY,
    "registry.list": ANYBODY,
    "registry.create": ANYBODY,
    "registry.read": VIEW,
    "registry.write": MANAGE,
    "registry.lend_identity": OPERATOR,
    "later.read": ANYBODY,
    "installation.import": OPERATOR,
}

READ_OF = {
    "organization": "organization.read",
    "team": "team.read",
    "project": "project.read",
    "variable": "project.read",
    "commit": "commit.read",
    "repository": "project.read",
    "execution": "execution.read",
    "data": "data.read",
    "store": "store.read",
    "registry": "registry.read",
}


@dataclass(frozen=True)
class Actor:
    """A signed-in person with the roles that were true when the request came in.

    `organizations`: {id: role}; `projects`: {id: role} of direct and team memberships. `address` is where the
    request came from, for the audit log.
    """

    user_id: str
    username: str
    is_operator: bool = False
    organizations: dict[str, str] = field(default_factory=dict)
    projects: dict[str, str] = field(default_factory=dict)
    project_organizations: frozenset[str] = frozenset()
    address: str = ""

    @property
    def scope(self) -> Scope:
        """Rows of these organisations can be seen at all; `can` decides on each thing."""
        return Scope(frozenset(self.organizations) | self.project_organizations)

    def roles(self, organization_id: str | None, project_id: str | None) -> frozenset[str]:
        """Every role that this person has for a thing of that organisation and project."""
        found = {"user"}
        if self.is_operator:
            found.add("operator")
        if organization_id and organization_id in self.organizations:
            found.add(self.organizations[organization_id])
        if project_id and project_id in self.projects:
            found.add(f"project:{self.projects[project_id]}")
        return frozenset(found)


def can(actor: Actor, action: str, organization_id: str | None = None, project_id: str | None = None) -> bool:
    """Whether one of the actor's roles allows `action`. An action that the table lacks is a KeyError: a defect."""
    return not TABLE[action].isdisjoint(actor.roles(organization_id, project_id))


def require(actor: Actor, action: str, organization_id: str | None = None, project_id: str | None = None) -> None:
    """Raise NotFoundError when the thing may not even be read, PermissionDeniedError when only `action` is denied."""
    if can(actor, action, organization_id, project_id):
        return
    reading = READ_OF.get(action.partition(".")[0], action)
    if not can(actor, reading, organization_id, project_id):
        raise NotFoundError
    needed = ", ".join(sorted(TABLE[action]))
    raise PermissionDeniedError(f"Your role does not allow {action}; one of these does: {needed}.")
