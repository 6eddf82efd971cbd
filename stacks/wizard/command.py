"""Pulumi's command line, as the wizard calls it: what it has begun it ends, also when the wizard is killed."""

from __future__ import annotations

import fcntl
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import IO

from pulumi.automation import CommandResult, OnOutput, PulumiCommand
from pulumi.automation.errors import create_command_error

from stacks.wizard.errors import WizardError
from stacks.wizard.places import Place
from stacks.wizard.progress import Say

# The longest that a cloud takes for one resource.
FINISHING_SECONDS = 1800.0
LOOK_EVERY = 0.5


@contextmanager
def after_the_former(place: Place, say: Say) -> Iterator[int]:
    """A file that is locked while Pulumi works on this installation, once nobody works on it. Raises WizardError."""
    with (place.folder / "pulumi.lock").open("w") as held:
        until, told = time.monotonic() + FINISHING_SECONDS, False
        while not _locked(held.fileno()):
            if time.monotonic() > until:
                raise WizardError(f"Pulumi still works on {place.name} for a killed command: wait for its end.")
            if not told:
                say("A killed command's last steps are being finished: waiting for them.", {"event": "finishing"})
            told = True
            time.sleep(LOOK_EVERY)
        yield held.fileno()


def _locked(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


class LastingCommand(PulumiCommand):
    """Runs in a session of its own and writes to files, so that nothing that ends the wizard ends it.

    Left alone, it begins nothing new: it waits for what is on its way and writes that into the state. Else the next
    run would not know of it, and make it a second time. `held` is the open file whose lock tells that it works.
    """

    def __init__(self, held: int) -> None:
        super().__init__()
        self._held = held

    def run(
        self,
        args: list[str],
        cwd: str,
        additional_env: Mapping[str, str],
        on_output: OnOutput | None = None,
        on_error: OnOutput | None = None,
    ) -> CommandResult:
        """See PulumiCommand; what it prints is known at its end. Raises CommandError."""
        with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
            process = subprocess.Popen(
                [self.command, "--non-interactive", *args],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                cwd=cwd,
                env={**os.environ, **additional_env, "PULUMI_AUTOMATION_API": "true"},
                start_new_session=True,
                pass_fds=(self._held,),
            )
            code = process.wait()
            said, wrong = _whole(out), _whole(err)
        for text, listener in ((said, on_output), (wrong, on_error)):
            if listener is not None:
                for line in text.splitlines():
                    listener(line)
        result = CommandResult(stdout=said, stderr=wrong, code=code)
        if code != 0:
            raise create_command_error(result)
        return result


def _whole(file: IO[str]) -> str:
    file.seek(0)
    return file.read().rstrip("\n")
