"""A process that is a fork of this one: what this one has imported already is in memory once for all of them."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Collection
from pathlib import Path
from typing import NoReturn

ASKED_TO_END = (signal.SIGTERM, signal.SIGINT)
LOOK_EVERY = 0.02
NAME_BYTES = 15


class Forked:
    """Runs `main` in a session of its own; the same few methods as `subprocess.Popen`.

    Only for a process without threads. `output` is a file descriptor. Raises OSError.
    """

    def __init__(self, name: str, main: Callable[[], None], output: int) -> None:
        self.returncode: int | None = None
        # Until the child has its own way to end, a signal must not reach the handlers that it was born with.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, ASKED_TO_END)
        try:
            self.pid = os.fork()
            if self.pid == 0:
                _run(name, main, output, before)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def poll(self) -> int | None:
        """Its exit code, below zero for a signal; None while it runs."""
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """The exit code, at its end. Raises subprocess.TimeoutExpired after `timeout` seconds."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while (code := self.poll()) is None:
            if deadline is not None and time.monotonic() > deadline:
                raise subprocess.TimeoutExpired(str(self.pid), timeout or 0.0)
            time.sleep(LOOK_EVERY)
        return code

    def terminate(self) -> None:
        """Ask it to end."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it."""
        self._signal(signal.SIGKILL)

    def _signal(self, number: int) -> None:
        # While it was not waited for, its number can't be another's.
        if self.poll() is None:
            os.kill(self.pid, number)


def _run(name: str, main: Callable[[], None], output: int, mask: Collection[int]) -> NoReturn:
    """The child's whole life: nothing of the parent's goes on in it."""
    code = 1
    try:
        os.setsid()
        _redirect(output)
        # What `ps` and `top` show; the command line stays the parent's.
        with contextlib.suppress(OSError):
            Path("/proc/self/comm").write_text(f"remora-{name}"[:NAME_BYTES])
        for number in ASKED_TO_END:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        main()
        code = 0
    except SystemExit as end:
        code = _code_of(end)
    except BaseException:  # noqa: BLE001 - the edge of a process: said, and its exit code tells
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _redirect(output: int) -> None:
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (output, 1), (output, 2)):
        os.dup2(source, target)
    os.close(nothing)


def _code_of(end: SystemExit) -> int:
    """As the interpreter does: a text is said, and means 1."""
    if end.code is None or isinstance(end.code, int):
        return end.code or 0
    sys.stderr.write(f"{end.code}\n")
    return 1
