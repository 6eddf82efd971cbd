"""Where an attempt stands, on disk, so that the next agent goes on from there.

    prepare --> running --> uploading --> ending --> (folder removed)
       |           |                        ^
       +-----------+-- a failure -----------+

`prepare` is simply done again; `running` finds its container; `uploading` skips what is stored; `ending` sends the
rest of the log and the end.
"""

from __future__ import annotations

import threading
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from worker_bootstrap.agent.files import read_json, write_json
from worker_bootstrap.protocol import typed
from worker_bootstrap.protocol.job import Job

PREPARE, RUNNING, UPLOADING, ENDING = "prepare", "running", "uploading", "ending"


@dataclass(frozen=True)
class Verdict:
    """How the attempt ends, as in the `end` message."""

    outcome: str
    reason: str
    exit_code: int | None = None
    detail: str = ""


@dataclass
class AttemptState:
    """Changed by the attempt's thread only, but for `stop`. `started_at`: seconds since the epoch."""

    phase: str = PREPARE
    slot: int = -1
    relay_port: int = 0
    started_at: float = 0.0
    image: str = ""
    why: str = ""
    verdict: dict[str, Any] | None = None
    stop: dict[str, Any] | None = field(default=None)


class StateFile:
    """DIR/work/ATTEMPT/state.json and job.json."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "state.json"
        self._job = folder / "job.json"
        self._lock = threading.Lock()

    def create(self, job: dict[str, Any]) -> None:
        """Keep a granted job; its secrets stay sealed."""
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_json(self._path, asdict(AttemptState()))
        write_json(self._job, job)

    def job(self) -> Job | None:
        """The job document; None when the grant was not wholly stored."""
        data = read_json(self._job)
        return None if data is None else typed.load(Job, data)

    def load(self) -> AttemptState:
        """The stored state."""
        return AttemptState(**read_json(self._path, {}))

    def save(self, state: AttemptState) -> None:
        """Keep the state. The attempt's thread and the one that hears of a stop may do so at once."""
        with self._lock:
            write_json(self._path, asdict(state))
