"""Processes under one parent: started in order, started again with growing pauses, ended together.

They outlive a supervisor that is killed: the next one ends what it finds and starts afresh. Executions are untouched
by that; their containers belong to the engine, and the agent finds them again.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import structlog

from controlplane.embedded import pids
from controlplane.embedded.files import write_private
from controlplane.embedded.forked import Forked
from controlplane.embedded.logfiles import rotate

log = structlog.get_logger()
SUPERVISOR_PID = "supervisor.pid"
STATUS = "processes.json"
STABLE_AFTER = 30.0
TICK = 0.1
ROTATE_EVERY = 10.0


@dataclass(frozen=True)
class ProcessSpec:
    """A process, and when those after it may start (None: at once).

    What runs is another program's command, or a function of this one.
    """

    name: str
    runs: tuple[str, ...] | Callable[[], None]
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


def pause_after(failures: int, timing: Timing) -> float:
    """Seconds before the next start after so many failures in a row, one or more. Pure."""
    return min(timing.longest_pause, timing.first_pause * 2.0 ** min(failures - 1, 30))


class Child:
    """One supervised process."""

    def __init__(self, spec: ProcessSpec, run_dir: Path, log_dir: Path, timing: Timing) -> None:
        self.spec = spec
        self.state = ProcessState(spec.name)
        self.log_file = log_dir / f"{spec.name}.log"
        self._pid_file = run_dir / f"{spec.name}.pid"
        self._timing = timing
        self._process: subprocess.Popen[bytes] | Forked | None = None
        self._failures = 0
        self._next_start = 0.0
        self._was_ready = False

    def end_leftover(self) -> None:
        """End what an earlier supervisor left behind."""
        if pids.end(self._pid_file, self._timing.grace):
            log.info("ended_leftover", process=self.spec.name)

    def tend(self) -> None:
        """Notice its end; start it when it is time."""
        now = time.monotonic()
        if self._process is not None:
            code = self._process.poll()
            if code is None:
                return
            self._note_end(code, now)
        if now >= self._next_start:
            self._start(now)

    def lets_others_start(self) -> bool:
        """Whether it was ready once: a process that dies later holds up nobody."""
        if not self._was_ready and self.state.state == "runs":
            self._was_ready = self.spec.ready is None or self.spec.ready()
        return self._was_ready

    def stop(self) -> None:
        """End it: SIGTERM, after the grace SIGKILL."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(self._timing.grace)
        except subprocess.TimeoutExpired:
            log.warning("killed", process=self.spec.name)
            process.kill()
            process.wait()
        pids.remove_pid(self._pid_file)

    def _start(self, now: float) -> None:
        try:
            with self.log_file.open("ab") as output:
                self._process = self._begin(output.fileno())
        except OSError as error:
            log.error("cannot_start", process=self.spec.name, why=str(error))
            self._note_end(127, now)
            return
        pids.write_pid(self._pid_file, self._process.pid)
        self.state.state, self.state.pid, self.state.since = "runs", self._process.pid, time.time()
        log.info("started", process=self.spec.name, pid=self._process.pid)

    def _begin(self, output: int) -> subprocess.Popen[bytes] | Forked:
        """Of its own session: Ctrl-C in a terminal reaches the supervisor alone, which ends them in order."""
        runs = self.spec.runs
        if callable(runs):
            return Forked(self.spec.name, runs, output)
        return subprocess.Popen(
            runs, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )

    def _note_end(self, code: int, now: float) -> None:
        stood = self.state.pid and time.time() - self.state.since > STABLE_AFTER
        self._process = None
        self._failures = 1 if stood else self._failures + 1
        self._next_start = now + pause_after(self._failures, self._timing)
        self.state.state, self.state.pid, self.state.last_exit = "pauses", 0, code
        self.state.restarts += 1
        pids.remove_pid(self._pid_file)
        log.warning("ended", process=self.spec.name, code=code)


class Supervisor:
    """Keeps its processes running until it is told to end."""

    def __init__(self, specs: Sequence[ProcessSpec], run_dir: Path, log_dir: Path, timing: Timing) -> None:
        self._children = [Child(spec, run_dir, log_dir, timing) for spec in specs]
        self._run_dir = run_dir
        self._log_dir = log_dir
        self._timing = timing
        self._status = ""
        self._next_rotation = 0.0

    def run(self, stop: threading.Event) -> None:
        """Until `stop` is set; then every process is ended, the last started first."""
        pid_file = self._run_dir / SUPERVISOR_PID
        pids.write_pid(pid_file, os.getpid())
        try:
            for child in reversed(self._children):
                child.end_leftover()
            while not stop.is_set():
                self._pass()
                stop.wait(TICK)
        finally:
            for child in reversed(self._children):
                child.stop()
            (self._run_dir / STATUS).unlink(missing_ok=True)
            pids.remove_pid(pid_file)

    def _pass(self) -> None:
        for child in self._children:
            child.tend()
            if not child.lets_others_start():
                break
        text = json.dumps([asdict(child.state) for child in self._children])
        if text != self._status:
            write_private(self._run_dir / STATUS, text)
            self._status = text
        if time.monotonic() >= self._next_rotation:
            self._next_rotation = time.monotonic() + ROTATE_EVERY
            self._rotate()

    def _rotate(self) -> None:
        for path in (*(child.log_file for child in self._children), self._log_dir / "supervisor.log"):
            rotate(path, self._timing.log_bytes, self._timing.log_files)


def read_status(run_dir: Path) -> list[ProcessState]:
    """What the supervisor wrote last; empty without a living one."""
    if pids.read_pid(run_dir / SUPERVISOR_PID) is None:
        return []
    try:
        return [ProcessState(**entry) for entry in json.loads((run_dir / STATUS).read_text())]
    except (OSError, ValueError):
        return []


def stop_on_signals() -> threading.Event:
    """Set at SIGTERM or SIGINT; SIGHUP (a closed terminal) is ignored."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    return stop
