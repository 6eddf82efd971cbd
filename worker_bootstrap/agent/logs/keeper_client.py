"""The agent's side of the line keeper: starts it, finds it again, speaks to it."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import worker_bootstrap
from worker_bootstrap.agent.logs.types import KeeperError

MODULE = "worker_bootstrap.agent.logs.keeper"
SOCKET, LOCK, DONE = "keeper.sock", "keeper.lock", "done.json"
ANSWER_SECONDS = 30.0


@dataclass(frozen=True)
class KeeperState:
    """`eof`: the output has ended (the container has, or the engine went away). `blocked`: the spool is full."""

    last_seq: int
    attached: bool
    eof: bool
    blocked: bool


class KeeperClient:
    """The keeper of one attempt, in `directory`. Everything but `alive` and `kill` may raise KeeperError."""

    def __init__(
        self,
        directory: Path,
        *,
        limit: int = 20_000_000_000,
        first_seq: int = 1,
        idle: float = 1.0,
        command: Sequence[str] | None = None,
    ) -> None:
        self._folder = directory
        self._options = ["--limit", str(limit), "--first-seq", str(first_seq), "--idle", str(idle)]
        self._command = list(command) if command else [sys.executable, "-S", "-P", "-m", MODULE]
        self._process: subprocess.Popen[bytes] | None = None

    def spawn(self, timeout: float = 20.0) -> None:
        """Start it unless it lives; returns when it answers."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not self.alive():
            with (self._folder / "keeper.log").open("ab") as log:
                self._process = subprocess.Popen(
                    [*self._command, "--dir", str(self._folder), *self._options],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                    env=_environment(),
                )
        deadline = time.monotonic() + timeout
        while True:
            try:
                self.state()
                return
            except KeeperError as error:
                if time.monotonic() > deadline or self._died():
                    raise KeeperError(f"the line keeper does not start: {self._last_words() or error}") from error
            time.sleep(0.02)

    def alive(self) -> bool:
        """Whether its process lives."""
        self._died()
        try:
            descriptor = os.open(self._folder / LOCK, os.O_RDWR)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
        return False

    def done(self) -> int | None:
        """The last line's number, once `finish` was obeyed."""
        try:
            return int(json.loads((self._folder / DONE).read_text())["last_seq"])
        except FileNotFoundError:
            return None

    def state(self) -> KeeperState:
        """How it stands."""
        return _state(self._ask({"state": True}))

    def status(self, text: str) -> None:
        """Add a line of stream `status` to the log."""
        self._ask({"status": text})

    def mask(self, secrets: Sequence[str]) -> None:
        """Hide these from now on, in every form. Also after each `spawn`: a keeper keeps them in memory only."""
        self._ask({"mask": list(secrets)})

    def attach(self, container: str, engine: str) -> KeeperState:
        """Take the container's output: before it starts, or (a gap is marked) after a keeper was lost."""
        return _state(self._ask({"attach": container, "engine": engine}))

    def release(self, more: int | None = None) -> None:
        """Take output beyond the spool's limit, `more` bytes of it or all: an ending container must not hang."""
        self._ask({"release": True if more is None else more})

    def drain(self, timeout: float) -> bool:
        """Wait until the ended container's output is in the spool; False if it has not ended within `timeout`."""
        return bool(self._ask({"drain": timeout}, timeout)["drained"])

    def finish(self, timeout: float) -> int:
        """Drain, close the log, end the process. Returns the last line's number; may be called again."""
        done = self.done()
        if done is not None:
            return done
        self.spawn()
        last = int(self._ask({"finish": timeout}, timeout)["last_seq"])
        if self._process is not None:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout=ANSWER_SECONDS)
        return last

    def kill(self) -> None:
        """End it at once, for an attempt of which nothing is wanted any more."""
        if not self.alive():
            return
        with suppress(OSError, ValueError):
            os.kill(int((self._folder / LOCK).read_text()), signal.SIGKILL)

    def _ask(self, command: dict[str, Any], patience: float = 0.0) -> dict[str, Any]:
        try:
            with _connected(self._folder, ANSWER_SECONDS + patience) as connection:
                connection.sendall(json.dumps(command).encode() + b"\n")
                with connection.makefile("rb") as answers:
                    line = answers.readline()
            reply = json.loads(line)
        except (OSError, ValueError) as error:
            raise KeeperError(f"the line keeper does not answer: {error}") from error
        if "error" in reply:
            raise KeeperError(str(reply["error"]))
        return reply

    def _died(self) -> bool:
        return self._process is not None and self._process.poll() is not None

    def _last_words(self) -> str:
        with suppress(OSError):
            return (self._folder / "keeper.log").read_text(errors="replace")[-500:].strip()
        return ""


def _environment() -> dict[str, str]:
    """The agent's environment without its secrets; the package is found where the agent found it."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "TZ", "HOME") if name in os.environ}
    return {**kept, "PYTHONPATH": str(Path(worker_bootstrap.__file__).resolve().parent.parent)}


@contextmanager
def _connected(folder: Path, timeout: float) -> Iterator[socket.socket]:
    """By the folder's descriptor: the path of a socket may have 107 bytes only."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(timeout)
            connection.connect(f"/proc/self/fd/{descriptor}/{SOCKET}")
            yield connection
    finally:
        os.close(descriptor)


def _state(reply: dict[str, Any]) -> KeeperState:
    return KeeperState(reply["last_seq"], reply["attached"], reply["eof"], reply["blocked"])
