"""Chores of the tests: they leave lines in files, so that a test sees how often they ran."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from rq.timeouts import JobTimeoutException

from controlplane.chores.errors import ChoreFailedError
from controlplane.chores.kinds import Kind, Kinds
from controlplane.chores.registry import KINDS
from controlplane.chores.run import Run


class Folder(BaseModel):
    folder: str
    times: int = 0


def _note(folder: str, line: str) -> list[str]:
    path = Path(folder) / "lines"
    with path.open("a") as file:
        file.write(line + "\n")
    return path.read_text().splitlines()


def _waits(run: Run, arguments: Folder) -> dict[str, Any]:
    """Until the file `go` is there."""
    _note(arguments.folder, "begins")
    run.tell("waiting for go")
    while not (Path(arguments.folder) / "go").exists():
        run.check()
        time.sleep(0.02)
    run.check()
    return {"begun": _note(arguments.folder, "ends").count("begins")}


def _fails(run: Run, arguments: Folder) -> dict[str, Any]:
    """So many times, then well."""
    begun = len(_note(arguments.folder, "begins"))
    if begun <= arguments.times:
        raise RuntimeError("secret-of-the-exception")
    return {"begun": begun}


def _gives_up(run: Run, arguments: Folder) -> dict[str, Any]:
    _note(arguments.folder, "begins")
    raise ChoreFailedError("The repository says that it does not exist.", "no_repository")


def _sleeps(run: Run, arguments: Folder) -> dict[str, Any]:
    _note(arguments.folder, "begins")
    time.sleep(60)
    return {}


def _hangs(run: Run, arguments: Folder) -> dict[str, Any]:
    """The first time it can't be interrupted."""
    begun = len(_note(arguments.folder, "begins"))
    while begun == 1:
        with suppress(JobTimeoutException):
            time.sleep(60)
    return {"begun": begun}


HANDLERS = {"waits": _waits, "fails": _fails, "gives-up": _gives_up, "sleeps": _sleeps, "hangs": _hangs}
TEST_KINDS: Kinds = {
    **KINDS,
    **{name: Kind(name, "A chore of the tests.", Folder, handler) for name, handler in HANDLERS.items()},
}
