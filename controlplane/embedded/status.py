"""What runs on this machine, for `remora server status`."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from controlplane.db.session import SYSTEM, Database, make_engine
from controlplane.embedded import pids
from controlplane.embedded.access import read_access
from controlplane.embedded.ready import web_answers
from controlplane.embedded.supervisor import SUPERVISOR_PID, ProcessState, read_status
from controlplane.environments.models import Worker
from controlplane.settings import Settings


@dataclass(frozen=True)
class Status:
    """A moment's picture. `memory` is bytes (PSS) by process."""

    running: bool
    ready: bool
    url: str
    home: str
    processes: list[ProcessState]
    memory: dict[str, int]
    workers: list[dict[str, Any]]

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        return asdict(self)

    def lines(self, now: float) -> list[str]:
        """For people; `now` in seconds since the epoch."""
        if not self.running:
            return ["Remora does not run here; `make up` or `remora server up` starts it.", f"State: {self.home}"]
        shown = [f"{self.url}  {'ready' if self.ready else 'not ready'}", ""]
        for one in self.processes:
            since = f"{now - one.since:.0f} s" if one.pid else f"last exit {one.last_exit}"
            memory = self.memory.get(one.name, 0) // 1_000_000
            shown.append(
                f"{one.name:<11}{one.state:<9}{one.pid or '-':<9}{since:<16}{memory:>5} MB   restarts {one.restarts}"
            )
        shown.append(f"{'supervisor':<44}{self.memory.get('supervisor', 0) // 1_000_000:>6} MB")
        shown += [
            "",
            *(f"worker {w['name']}: {w['state']}, {w['free']} of {w['slots']} slots free" for w in self.workers),
        ]
        return shown


def look(settings: Settings) -> Status:
    """The state of this state folder's processes now."""
    processes = read_status(settings.run_dir)
    supervisor = pids.read_pid(settings.run_dir / SUPERVISOR_PID)
    access = read_access(settings.access_file)
    memory = {one.name: pids.memory_of(one.pid) for one in processes if one.pid}
    if supervisor:
        memory["supervisor"] = pids.memory_of(supervisor) - sum(memory.values())
    # What runs may have been started with another port than this command was.
    url = access.url if access else settings.public_url
    return Status(
        running=supervisor is not None,
        ready=bool(supervisor) and web_answers(settings, url),
        url=url,
        home=str(settings.home),
        processes=processes,
        memory=memory,
        workers=_workers(settings) if supervisor else [],
    )


def _workers(settings: Settings) -> list[dict[str, Any]]:
    try:
        with Database(make_engine(settings.database_url.get_secret_value())).read(SYSTEM) as session:
            rows = session.scalars(select(Worker).where(Worker.left_at.is_(None)).order_by(Worker.name)).all()
    except SQLAlchemyError:
        return []
    return [{"name": row.name, "state": row.state, "free": row.free, "slots": row.slots} for row in rows]
