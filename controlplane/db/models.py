"""Every table, so that migrations and `create_all` see them all."""

from controlplane.accounts import models as accounts
from controlplane.audit import models as audit
from controlplane.chores import models as chores
from controlplane.commits import models as commits
from controlplane.data import models as data
from controlplane.data import tags
from controlplane.db.base import Base
from controlplane.dispatch import models as dispatch
from controlplane.environments import models as environments
from controlplane.executions import facts
from controlplane.executions import models as executions
from controlplane.git import models as git
from controlplane.logs import models as logs
from controlplane.projects import models as projects
from controlplane.registries import models as registries
from controlplane.variables import models as variables

__all__ = [
    "Base",
    "accounts",
    "audit",
    "chores",
    "commits",
    "data",
    "dispatch",
    "environments",
    "executions",
    "facts",
    "git",
    "logs",
    "projects",
    "registries",
    "tags",
    "variables",
]
