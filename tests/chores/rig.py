"""A real Redis and database, the relay's loop as a thread, and chores processes that can be killed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from chores.kinds import TEST_KINDS
from controlplane.chores.models import FINISHED, Chore
from controlplane.chores.queue import ChoreQueue
from controlplane.chores.relay import ChoreRelay
from controlplane.chores.service import ChoreService
from controlplane.db.session import SYSTEM, Database
from controlplane.dispatch.leases import LeaseKeeper
from controlplane.dispatch.led import LedLoop
from controlplane.settings import Settings
from dispatch.rig import RedisServer

TESTS = Path(__file__).resolve().parents[1]
# Time-outs at 1/20.
QUICK: dict[str, float] = {
    "chores_interval": 0.05,
    "chores_lost_after": 3.0,
    "chores_limit": 180.0,
    "chores_retry_pause": 0.1,
    "chores_tries": 3,
    "housekeeping_interval": 0.0,
    "retention_interval": 0.0,
}


class ChoreRig:
    """What a test of chores needs; `folder` is where its chores leave lines."""

    def __init__(self, db: Database, server: RedisServer, settings: Settings, folder: Path) -> None:
        self.db = db
        self.server = server
        self.settings = settings
        self.folder = folder
        self.service = ChoreService(TEST_KINDS)
        self.log_file = folder / "chores.log"
        self._processes: list[subprocess.Popen[bytes]] = []
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []

    def start_relay(self) -> None:
        ttl = self.settings.lease_ttl
        relay = ChoreRelay(self.db, ChoreQueue(self.settings.chores.get_secret_value()), self.settings, TEST_KINDS)
        lease = LeaseKeeper(self.db, "chores", f"test:{len(self._threads)}", ttl)
        loop = LedLoop("chores", lease, relay.run_pass, self.settings.chores_interval, ttl / 3)
        self._stop = threading.Event()
        thread = threading.Thread(target=loop.run, args=(self._stop,), daemon=True)
        thread.start()
        self._threads.append(thread)

    def start_process(self, **changes: Any) -> subprocess.Popen[bytes]:
        """A chores process; its settings are the rig's, but for `changes`."""
        values = {name: getattr(self.settings, name) for name in QUICK} | changes
        environment = {name: value for name, value in os.environ.items() if not name.startswith("REMORA_")}
        environment |= {f"REMORA_{name.upper()}": str(value) for name, value in values.items()}
        environment["REMORA_HOME"] = str(self.settings.home)
        environment["REMORA_DATABASE_URL"] = self.settings.database_url.get_secret_value()
        environment["REMORA_CHORES"] = self.settings.chores.get_secret_value()
        environment["PYTHONPATH"] = str(TESTS)
        with self.log_file.open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "chores.process"], env=environment, stdout=log, stderr=log, cwd=TESTS.parent
            )
        self._processes.append(process)
        return process

    def stop(self) -> None:
        self._stop.set()
        for process in self._processes:
            process.kill()
            process.wait()
        for thread in self._threads:
            thread.join(30)
            assert not thread.is_alive()

    def ask(self, kind: str, unique_key: str | None = None, **arguments: Any) -> str:
        with self.db.begin(SYSTEM) as session:
            return self.service.enqueue(session, kind, arguments, unique_key=unique_key)

    def ask_here(self, kind: str, **arguments: Any) -> str:
        """A chore that leaves its lines in the rig's folder."""
        return self.ask(kind, folder=str(self.folder), **arguments)

    def look(self, chore: str) -> Chore:
        with self.db.read(SYSTEM) as session:
            return session.get_one(Chore, chore)

    def ended(self, chore: str, timeout: float = 30.0) -> Chore:
        self.until(lambda: self.look(chore).state in FINISHED, f"the end of the chore; log:\n{self.log()}", timeout)
        return self.look(chore)

    def let_go(self) -> None:
        (self.folder / "go").touch()

    def lines(self) -> list[str]:
        path = self.folder / "lines"
        return path.read_text().splitlines() if path.exists() else []

    def log(self) -> str:
        return self.log_file.read_text() if self.log_file.exists() else ""

    def events(self, name: str) -> list[dict[str, Any]]:
        """What the processes logged under this name."""
        found = [json.loads(line) for line in self.log().splitlines() if line.startswith("{")]
        return [one for one in found if one["event"] == name]

    def until(self, wanted: Callable[[], Any], what: str, timeout: float = 30.0) -> Any:
        end = time.monotonic() + timeout
        while not (found := wanted()):
            assert time.monotonic() < end, f"waited {timeout} s in vain for {what}"
            time.sleep(0.02)
        return found
