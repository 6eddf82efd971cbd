"""Steps that a new machine takes, one after the other, each until it succeeds; every failure is one plain sentence."""

from __future__ import annotations

import os
import subprocess
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

# Read by remora-deadline.service, so that a machine says why it powers off.
WHY = Path("/run/remora-start.why")
COMMAND_SECONDS = 900.0


class StepError(RuntimeError):
    """What is in the way; the message says what to do."""


Step = Callable[[], None]


def persevere(steps: Sequence[tuple[str, Step]], first: float, most: float) -> None:
    """Take each step; what failed is said and tried again after a pause that grows from `first` to `most` seconds."""
    for name, step in steps:
        pause = first
        while not _taken(name, step, pause):
            time.sleep(pause)
            pause = min(most, pause * 2)


def _taken(name: str, step: Step, pause: float) -> bool:
    try:
        step()
    except (StepError, OSError) as error:
        return _failed(f"{name}: {error}", pause)
    except Exception as error:  # noqa: BLE001 - the edge of a step: a machine that is silent helps nobody
        traceback.print_exc()
        return _failed(f"{name}: a fault of the start-up script ({type(error).__name__}: {error}).", pause)
    say(f"{name}: done.")
    WHY.write_text(f"The last that was done: {name}.")
    return True


def _failed(text: str, pause: float) -> bool:
    say(f"{text} Next try in {pause:g} s.")
    WHY.write_text(f"The last that failed: {' '.join(text.split())}")
    return False


def say(text: str) -> None:
    """One line into the journal and onto the console."""
    print(" ".join(text.split()), flush=True)


def command(*words: str, given: str = "", seconds: float = COMMAND_SECONDS, at: str = "/") -> str:
    """What a command prints, run in the folder `at`. Secrets go in by `given`, never in `words`.

    Raises StepError with the command's last words.
    """
    environment = {"HOME": "/root", **os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"}
    try:
        done = subprocess.run(
            words, input=given, capture_output=True, text=True, timeout=seconds, env=environment, cwd=at
        )
    except subprocess.TimeoutExpired:
        raise StepError(f"`{words[0]}` did not end within {seconds:g} s.") from None
    except FileNotFoundError:
        raise StepError(f"`{words[0]}` is not on this machine's image.") from None
    if done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip() or "it says nothing")[-600:]
        raise StepError(f"`{' '.join(words[:3])}` failed: {said}")
    return done.stdout
