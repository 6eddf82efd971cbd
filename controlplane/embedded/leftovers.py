"""What executions left on the engine: containers and networks of this control plane's attempts."""

from __future__ import annotations

import docker
from docker.errors import DockerException
from sqlalchemy import select

from controlplane.db.session import SYSTEM, Database, make_engine
from controlplane.environments.models import Installation
from controlplane.executions.models import Attempt
from controlplane.settings import Settings

ATTEMPT_LABEL = "remora.attempt"
INSTALLATION_LABEL = "remora.installation"


def remove_containers(settings: Settings) -> int:
    """Remove them; how many containers there were. Nothing happens without an engine or a database."""
    installations, attempts = _known(settings)
    if not installations:
        return 0
    try:
        client = docker.from_env(timeout=30)
        found = client.containers.list(all=True, filters={"label": INSTALLATION_LABEL}, ignore_removed=True)
        ours = [one for one in found if one.labels.get(INSTALLATION_LABEL) in installations]
        attempts |= {one.labels.get(ATTEMPT_LABEL, "") for one in ours}
        for one in ours:
            one.remove(force=True)
        for network in client.networks.list(filters={"label": ATTEMPT_LABEL}):
            if (network.attrs or {}).get("Labels", {}).get(ATTEMPT_LABEL) in attempts:
                network.remove()
    except DockerException:
        return 0
    return len(ours)


def _known(settings: Settings) -> tuple[set[str], set[str]]:
    """Ids of installations, and of attempts that had not ended."""
    url = settings.database_url.get_secret_value()
    if url.startswith("sqlite") and not (settings.home / "remora.db").exists():
        return set(), set()
    with Database(make_engine(url)).read(SYSTEM) as session:
        installations = set(session.scalars(select(Installation.id)))
        attempts = set(session.scalars(select(Attempt.id).where(Attempt.state != "ended")))
    return installations, attempts
