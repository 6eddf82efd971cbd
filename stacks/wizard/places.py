"""Where an installation's own files lie: its answers, the state of its stack, its document.

REMORA_HOME/installations/NAME/, for whoever runs the installer alone (0700).
"""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from stacks.wizard.errors import WizardError


@dataclass(frozen=True)
class Place:
    """The folder of one installation."""

    home: Path
    name: str

    @property
    def folder(self) -> Path:
        """The folder itself."""
        return self.home / "installations" / self.name

    @property
    def state(self) -> Path:
        """Folder of Pulumi's state."""
        return self.folder / "state"

    @property
    def answers(self) -> Path:
        """What was answered when it was installed."""
        return self.folder / "answers.yaml"

    @property
    def document(self) -> Path:
        """The installation document, once it stands."""
        return self.folder / "installation.json"

    @property
    def passphrase(self) -> Path:
        """What Pulumi encrypts secret settings with."""
        return self.home / "keys" / "installer.passphrase"

    def make(self) -> None:
        """Make folders and passphrase where there are none. Raises OSError."""
        for folder in (self.folder, self.state, self.passphrase.parent):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not self.passphrase.exists():
            handle = os.open(self.passphrase, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "w") as writer:
                writer.write(secrets.token_urlsafe(32))

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Nobody else works on this installation. Raises WizardError where somebody does."""
        with (self.folder / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise WizardError(f"Another process works on {self.name}: wait until it has ended.") from error
            yield


def remora_home() -> Path:
    """REMORA_HOME, as the control plane has it."""
    return Path(os.environ.get("REMORA_HOME") or Path.home() / ".remora").expanduser()


def installed(home: Path) -> list[str]:
    """Names of what was installed from here."""
    folder = home / "installations"
    return sorted(path.parent.name for path in folder.glob("*/answers.yaml"))
