"""Files of a service that only root or its own user may read, secrets that are made once, and the service itself."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from worker_bootstrap.host.errors import HostError

UNITS = Path("/etc/systemd/system")
COMMAND_SECONDS = 90
NO_SUCH_USER = 6


def write_private(path: Path, text: str, mode: int = 0o600, user: str = "") -> bool:
    """Replace the file at once; False when it said the same already. Raises OSError, KeyError for an unknown user."""
    owner = pwd.getpwnam(user) if user else None
    if path.exists() and path.read_text() == text:
        changed = False
    else:
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "w") as writer:
            writer.write(text)
            writer.flush()
            os.fsync(writer.fileno())
        temporary.replace(path)
        changed = True
    path.chmod(mode)
    if owner is not None:
        os.chown(path, owner.pw_uid, owner.pw_gid)
    return changed


def kept_secret(path: Path, user: str = "") -> str:
    """The random text of 256 bits in this file (0600), made at the first call. Raises OSError."""
    if not path.exists():
        write_private(path, secrets.token_urlsafe(32), user=user)
    return path.read_text()


def folder(path: Path, mode: int, user: str = "") -> Path:
    """The folder with this mode and owner. Raises OSError."""
    path.mkdir(parents=True, exist_ok=True)
    path.chmod(mode)
    if user:
        owner = pwd.getpwnam(user)
        os.chown(path, owner.pw_uid, owner.pw_gid)
    return path


def run(*words: str, okay: Sequence[int] = (0,), seconds: float = COMMAND_SECONDS) -> str:
    """What a command of the system says. Raises HostError."""
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=seconds)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise HostError(f"{' '.join(words)}: {error}") from error
    if done.returncode not in okay:
        raise HostError(f"{' '.join(words)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def ensure_user(name: str, home: Path) -> None:
    """A user of the system without a login, made if there is none. Raises HostError."""
    try:
        pwd.getpwnam(name)
    except KeyError:
        words = ("--system", "--user-group", "--no-create-home", "--home-dir", str(home))
        run("useradd", *words, "--shell", "/usr/sbin/nologin", name)


def start(unit: str, text: str, changed: bool) -> bool:
    """Write the unit and let it run; it is started again when it or its files `changed`. Raises HostError, OSError."""
    changed = write_private(UNITS / unit, text, 0o644) or changed
    run("systemctl", "daemon-reload")
    run("systemctl", "enable", unit)
    is_active = run("systemctl", "is-active", unit, okay=(0, 3, 4)).strip() == "active"
    if changed or not is_active:
        run("systemctl", "restart", unit)
    return changed


def remove(unit: str, user: str, places: Sequence[Path]) -> None:
    """The service is gone: unit, user and these folders. Raises HostError, OSError."""
    if (UNITS / unit).exists():
        run("systemctl", "disable", "--now", unit)
        (UNITS / unit).unlink(missing_ok=True)
        run("systemctl", "daemon-reload")
        run("systemctl", "reset-failed", unit, okay=(0, 1))
    run("userdel", user, okay=(0, NO_SUCH_USER))
    for place in places:
        shutil.rmtree(place, ignore_errors=True)
