"""What a job document needs, gathered from the database at the moment of the grant."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from controlplane.accounts.models import User
from controlplane.commits.models import Commit
from controlplane.data.models import Datum
from controlplane.environments.models import Worker, WorkerGroup
from controlplane.executions.jobs import Facts
from controlplane.executions.models import Execution
from controlplane.projects.models import Project
from controlplane.security.signing import new_token
from controlplane.security.vault import Vault
from controlplane.settings import Settings
from controlplane.variables.layers import layered

DATUM = "datum://"


def gather(
    session: Session,
    vault: Vault,
    settings: Settings,
    execution: Execution,
    worker: Worker,
    group: WorkerGroup,
    now: datetime,
) -> Facts:
    """Facts about one execution. Raises VaultError, NoResultFound."""
    plain, secret = layered(session, vault, execution)
    user = session.get(User, execution.creator_id) if execution.creator_id else None
    return Facts(
        commit=session.get_one(Commit, execution.commit_id),
        project=session.get_one(Project, execution.project_id),
        group=group,
        worker=worker,
        creator={"name": user.username, "email": user.email} if user else {},
        datums=_datums(session, execution),
        plain_env=plain,
        secret_env=secret,
        relay_token=new_token(),
        stop_grace=settings.stop_grace,
        metadata_per_second=settings.metadata_points_per_second,
        now=now,
    )


def _datums(session: Session, execution: Execution) -> dict[str, Datum]:
    uris = [uri for entry in execution.inputs.values() for uri in entry if uri.startswith(DATUM)]
    if not uris:
        return {}
    ids = [uri.removeprefix(DATUM) for uri in uris]
    return {datum.id: datum for datum in session.scalars(select(Datum).where(Datum.id.in_(ids)))}
