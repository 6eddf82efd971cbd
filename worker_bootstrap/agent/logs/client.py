"""The agent's side of the line keeper."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path


class KeeperClient:
    """Starts the keeper of one attempt and leads it by files."""

    def __init__(self, folder: Path, engine: str, limit: int) -> None:
        self._folder = folder
        self._engine = engine
        self._limit = limit
        folder.mkdir(parents=True, exist_ok=True)

    def ensure(self, secrets: list[str]) -> None:
        """Start the keeper unless it lives or is done. It has a session of its own: the agent's end is not its end."""
        if self.done() or self.alive():
            return
        command = [sys.executable, "-m", "worker_bootstrap.agent.logs.keeper", "--dir", str(self._folder)]
        command += ["--engine", self._engine, "--limit", str(self._limit)]
        with (self._folder / "keeper.log").open("ab") as log:
            process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=log, stderr=log, start_new_session=True, text=True
            )
        if process.stdin is not None:
            process.stdin.write(json.dumps(secrets) + "\n")
            process.stdin.close()
        (self._folder / "keeper.pid").write_text(str(process.pid))

    def alive(self) -> bool:
        """Whether the keeper's process lives."""
        try:
            pid = int((self._folder / "keeper.pid").read_text())
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
            return state != "Z" and b"logs.keeper" in Path(f"/proc/{pid}/cmdline").read_bytes()
        except (OSError, ValueError):
            return False

    def done(self) -> bool:
        """Whether the keeper has written everything."""
        return (self._folder / "done").exists()

    def status(self, message: str) -> None:
        """Add a status line to the log."""
        with (self._folder / "status").open("ab") as file:
            file.write(json.dumps(message).encode() + b"\n")

    def attach(self, container: str, timeout: float) -> bool:
        """Tell the keeper to hold this container's output; whether it does."""
        temporary = self._folder / "attach.new"
        temporary.write_text(container)
        os.replace(temporary, self._folder / "attach")
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            if (self._folder / "attached").exists():
                return True
            time.sleep(0.01)
        return False

    def finish(self, timeout: float) -> bool:
        """Tell the keeper that nothing more comes; whether it has written everything."""
        (self._folder / "finish").touch()
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            if self.done():
                return True
            time.sleep(0.02)
        return False
