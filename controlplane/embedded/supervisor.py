"""Processes under one parent: started in order, started again with growing pauses, ended together."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from controlplane.embedded.files import write_private
from controlplane.embedded.logfiles import rotate
from controlplane.embedded.pids import remove_pid, write_pid

SUPERVISOR_PID = "supervisor.pid"
STATUS = "processes.json"
STABLE_AFTER = 30.0
TICK = 0.1


@dataclass(frozen=True)
class ProcessSpec:
    """A process, and when those after it may start (None: at once)."""

    name: str
    command: tuple[str, ...]
    ready: Callable[[], bool] | None = None


@dataclass(frozen=True)
class Timing:
    """Pauses and grace in seconds, log size in bytes."""

    first_pause: float
    longest_pause: float
    grace: float
    log_bytes: int
    log_files: int


@dataclass
class ProcessState:
    """What the supervisor tells of a process. state: waits | runs | pauses; `since` is seconds since the epoch."""

    name: str
    state: str = "waits"
    pid: int = 0
    since: float = 0.0
    restarts: int = 0
    last_exit: int | None = None


class Supervisor:
    """Keeps its processes running until it is told to end."""

    def __init__(self, specs: list[ProcessSpec], run_dir: Path, log_dir: Path, timing: Timing) -> None:
        self._specs = specs
        self._run_dir = run_dir
        self._log_dir = log_dir
        self._timing = timing
        self._states = {spec.name: ProcessState(spec.name) for spec in specs}
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._next_start: dict[str, float] = {}
        self._failures: dict[str, int] = {}
        self._ready: set[str] = set()
        self._rotated = 0.0

    def run(self, stop: threading.Event) -> None:
        """Until `stop` is set; then every process is ended, the last started first."""
        write_pid(self._run_dir / SUPERVISOR_PID, os.getpid())
        try:
            while not stop.is_set():
                self._pass()
                stop.wait(TICK)
        finally:
            self._end()
            remove_pid(self._run_dir / SUPERVISOR_PID)

    def _pass(self) -> None:
        before = [asdict(state) for state in self._states.values()]
        for spec in self._specs:
            self._tend(spec)
            if spec.name not in self._ready and not self._is_ready(spec):
                break
        if [asdict(state) for state in self._states.values()] != before:
            self._write_status()
        if time.monotonic() - self._rotated > 10:
            self._rotated = time.monotonic()
            for spec in self._specs:
                rotate(self._log(spec.name), self._timing.log_bytes, self._timing.log_files)

    def _is_ready(self, spec: ProcessSpec) -> bool:
        """Asked until it is true once: a process that dies later does not hold up the others."""
        if self._states[spec.name].state != "runs" or (spec.ready is not None and not spec.ready()):
            return False
        self._ready.add(spec.name)
        return True

    def _tend(self, spec: ProcessSpec) -> None:
        state, process = self._states[spec.name], self._processes.get(spec.name)
        now = time.monotonic()
        if process is not None and process.poll() is None:
            if time.time() - state.since > STABLE_AFTER:
                self._failures[spec.name] = 0
            return
        if process is not None:
            self._note_end(spec, state, process, now)
        if now >= self._next_start.get(spec.name, 0.0):
            self._start(spec, state)

    def _note_end(self, spec: ProcessSpec, state: ProcessState, process: subprocess.Popen[bytes], now: float) -> None:
        failures = self._failures.get(spec.name, 0)
        pause = min(self._timing.longest_pause, self._timing.first_pause * 2**failures)
        self._next_start[spec.name], self._failures[spec.name] = now + pause, failures + 1
        state.state, state.pid, state.last_exit = "pauses", 0, process.returncode
        state.restarts += 1
        del self._processes[spec.name]
        remove_pid(self._run_dir / f"{spec.name}.pid")

    def _start(self, spec: ProcessSpec, state: ProcessState) -> None:
        with self._log(spec.name).open("ab") as log:
            process = subprocess.Popen(
                spec.command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )
        self._processes[spec.name] = process
        write_pid(self._run_dir / f"{spec.name}.pid", process.pid)
        state.state, state.pid, state.since = "runs", process.pid, time.time()

    def _end(self) -> None:
        for spec in reversed(self._specs):
            process = self._processes.pop(spec.name, None)
            if process is None:
                continue
            process.terminate()
            try:
                process.wait(self._timing.grace)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            remove_pid(self._run_dir / f"{spec.name}.pid")
        (self._run_dir / STATUS).unlink(missing_ok=True)

    def _write_status(self) -> None:
        write_private(self._run_dir / STATUS, json.dumps([asdict(state) for state in self._states.values()]))

    def _log(self, name: str) -> Path:
        return self._log_dir / f"{name}.log"


def read_status(run_dir: Path) -> list[ProcessState]:
    """What the supervisor wrote last; empty without one."""
    try:
        return [ProcessState(**entry) for entry in json.loads((run_dir / STATUS).read_text())]
    except (OSError, ValueError):
        return []


def stop_on_signals() -> threading.Event:
    """Set at SIGTERM or SIGINT."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop
