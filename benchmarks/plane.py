"""The control plane's processes without a supervisor, an agent and containers, on any database."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import httpx

from fixtures.stack import ROOT, Stack, free_port, wait_until

PREPARE = "from controlplane.embedded.first_run import prepare; from controlplane.settings import Settings; "


class Plane(Stack):
    """Redis, `loops` and `web` as processes of their own; `database` is an address, empty for SQLite."""

    def __init__(self, home: Path, database: str = "") -> None:
        super().__init__(home, {"REMORA_DATABASE_URL": database} if database else {}, quick=False)
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._log = (home / "bench.log").open("ab")

    def start(self) -> None:
        """Start them and wait until they answer."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("REMORA_")}
        environment |= {"REMORA_HOME": str(self.home), "REMORA_PORT": str(free_port()), **self._settings}
        prepare = [sys.executable, "-c", f"{PREPARE}prepare(Settings())"]
        subprocess.run(prepare, env=environment, cwd=ROOT, check=True, stdout=self._log, stderr=self._log)
        commands = {
            "redis": ["redis-server", str(self.home / "redis" / "redis.conf")],
            "loops": [sys.executable, "-m", "controlplane.processes.loops"],
            "web": [sys.executable, "-m", "controlplane.processes.web"],
        }
        for name, command in commands.items():
            self._processes[name] = subprocess.Popen(
                command, env=environment, cwd=ROOT, stdout=self._log, stderr=self._log, start_new_session=True
            )
        wait_until(self._answers, 60, f"web and loops; see {self.home}/bench.log")

    def stop(self) -> None:
        """End them, the last started first."""
        for process in reversed(self._processes.values()):
            process.terminate()
            process.wait(30)
        self._log.close()

    def pids(self) -> dict[str, int]:
        return {name: process.pid for name, process in self._processes.items()}

    def _answers(self) -> bool:
        ended = [name for name, process in self._processes.items() if process.poll() is not None]
        if ended:
            raise RuntimeError(f"{', '.join(ended)} ended; see {self.home}/bench.log")
        if not (self.home / "run" / "loops.ready").exists():
            return False
        time.sleep(0.2)
        return answers(self.url)


def answers(url: str) -> bool:
    """Whether `web` is ready."""
    try:
        return httpx.get(f"{url}/readyz", timeout=5, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False
