"""The control plane as a service on this machine: a virtual environment of its own, settings, secrets, the import.

/opt/remora-server holds releases and the link `current`; /etc/remora-server settings, certificate and what the
installation document refers to; /var/lib/remora-server (REMORA_HOME) the data, which stays when the service goes.
"""

from __future__ import annotations

import hashlib
import json
import os
import pwd
import shutil
import sys
import time
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from worker_bootstrap.host.errors import HostError
from worker_bootstrap.hosting.authority import is_for, request_for
from worker_bootstrap.hosting.files import ensure_user, folder, remove, run, start, write_private
from worker_bootstrap.hosting.texts import master_command, master_environment, master_unit
from worker_bootstrap.release import SERVER_WANTED

UNIT, USER = "remora-server.service", "remora-server"
READY_SECONDS = 180.0
# Whoever has ended so often will not stay up.
STARTS = 8
INSTALL_SECONDS = 540.0
LOOK_EVERY = 1.0
# Made last in a virtual environment: one without it was left by a machine that died in the middle.
WHOLE = "whole"


@dataclass(frozen=True)
class MasterRequest:
    """`dashboard`: the address that people use; `document`: the installation, as JSON text.

    `certificate`, `key`: PEM texts; without a key it is for that of `certificate_request`, and `ca` has signed it.
    `files`: name to text of the secrets that the document refers to. `database`: address of a PostgreSQL; SQLite when
    empty.
    """

    dashboard: str
    port: int
    certificate: str
    document: str
    ca: str = ""
    files: dict[str, str] = field(default_factory=dict, repr=False)
    key: str = field(default="", repr=False)
    database: str = field(default="", repr=False)


class MasterHost:
    """The control plane on this machine; everything may be done twice."""

    def __init__(
        self,
        settings: Path = Path("/etc/remora-server"),
        state: Path = Path("/var/lib/remora-server"),
        programs: Path = Path("/opt/remora-server"),
    ) -> None:
        self._settings = settings
        self._state = state
        self._programs = programs
        self._current = programs / "current"
        self._command = programs / "remora"

    def certificate_request(self, name: str) -> str:
        """A request (PEM) for the dashboard's certificate; its key is made here and stays. Raises OSError."""
        ensure_user(USER, self._state)
        folder(self._settings, 0o755)
        return request_for(self._settings / "own.key", name)

    def install(self, wanted: MasterRequest) -> bool:
        """Make what is missing, let it run, and let it take the document in; False when all stood already.

        A version that does not start gives way to the one before. Raises HostError, OSError.
        """
        os.umask(0o022)
        ensure_user(USER, self._state)
        self._own_state()
        release = self._release()
        changed = self._write(wanted)
        former = self._current.resolve() if self._current.exists() else release
        self._point(release)
        unit = master_unit(USER, self._current, self._settings, self._state, wanted.port)
        changed = start(UNIT, unit, changed or former != release)
        try:
            self._await_ready()
        except HostError:
            if former != release:
                self._point(former)
                run("systemctl", "restart", UNIT)
            raise
        self._run("import-installation", str(self._settings / "installation.json"))
        self._forget_others({release, former})
        return changed

    def certificate_for(self, wanted: MasterRequest) -> str:
        """The one that is there while it is for this name and of this authority: a new one needs a new start."""
        held, name = self._settings / "server.pem", urlsplit(wanted.dashboard).hostname or ""
        if wanted.ca and is_for(held, [name]) and held.read_text().endswith(wanted.ca):
            return held.read_text()
        return wanted.certificate + wanted.ca

    def login_link(self) -> str:
        """An address that signs the first administrator in, once and within a minute. Raises HostError."""
        return self._run("login-link").strip()

    def access(self) -> dict[str, str]:
        """Address and token of the first administrator, and the certificate that it shows. Raises OSError."""
        known = json.loads((self._state / "access.json").read_text())
        certificate = (self._settings / "server.pem").read_text()
        return {"url": known["url"], "token": known["token"], "certificate": certificate}

    def uninstall(self) -> None:
        """Nothing of the service stays; its data does. Raises HostError, OSError."""
        remove(UNIT, USER, (self._settings, self._programs))

    def _own_state(self) -> None:
        """Data that an earlier installation left belongs to the user of this one; the folder itself comes last."""
        owner = pwd.getpwnam(USER)
        if self._state.exists() and self._state.stat().st_uid != owner.pw_uid:
            for path in self._state.rglob("*"):
                os.chown(path, owner.pw_uid, owner.pw_gid, follow_symlinks=False)
        folder(self._state, 0o700, USER)

    def _release(self) -> Path:
        """The virtual environment of the file that the installer put here, made beside those that there are."""
        archive = self._programs / "server.zip"
        with archive.open("rb") as reader:
            place = self._programs.resolve() / "releases" / hashlib.file_digest(reader, "sha256").hexdigest()[:16]
        if (place / WHOLE).exists():
            return place
        unpacked = self._programs / "unpacked"
        for half_made in (place, unpacked):
            shutil.rmtree(half_made, ignore_errors=True)
        with zipfile.ZipFile(archive) as packed:
            packed.extractall(unpacked)
        wheels = unpacked / "wheels"
        pip = next(wheels.glob("pip-*.whl"))
        run(sys.executable, "-m", "venv", "--without-pip", str(place))
        words = [str(place / "bin" / "python"), str(pip / "pip"), "install", "--quiet", "--no-cache-dir"]
        words += ["--disable-pip-version-check", "--no-index", "--no-deps", "--find-links", str(wheels)]
        run(*words, "--requirement", str(unpacked / SERVER_WANTED), seconds=INSTALL_SECONDS)
        shutil.rmtree(unpacked)
        (place / WHOLE).touch()
        return place

    def _write(self, wanted: MasterRequest) -> bool:
        """Settings and secrets; whether one of them that is read at the start has changed."""
        folder(self._settings, 0o755)
        self._keep_secrets(wanted.files)
        write_private(self._settings / "installation.json", wanted.document, 0o644)
        write_private(self._command, master_command(USER, self._current, self._settings, self._state), 0o755)
        key = wanted.key or (self._settings / "own.key").read_text()
        changed = write_private(self._settings / "server.key", key, 0o600, USER)
        changed = write_private(self._settings / "server.pem", self.certificate_for(wanted), 0o644) or changed
        text = master_environment(self._settings, self._state, wanted.dashboard, wanted.port, wanted.database)
        # Root's own: systemd reads it, and so does the command, which gives up root after that.
        return write_private(self._settings / "environment", text) or changed

    def _keep_secrets(self, files: dict[str, str]) -> None:
        # Root's folder: its user reads the files that it owns there, and can't put others in their place.
        place = folder(self._settings / "installation", 0o711)
        for name, text in files.items():
            if "/" in name:
                raise HostError(f"{name!r} is no name of a file")
            write_private(place / name, text, 0o600, USER)
        for path in place.iterdir():
            if path.name not in files:
                path.unlink()

    def _point(self, release: Path) -> None:
        """`current` leads to this release, at once."""
        link = self._programs / ".current"
        link.unlink(missing_ok=True)
        link.symlink_to(release)
        link.replace(self._current)

    def _run(self, *words: str) -> str:
        return run(str(self._command), "server", *words)

    def _await_ready(self) -> None:
        end = time.monotonic() + READY_SECONDS
        while True:
            try:
                self._run("status")
                return
            except HostError as error:
                if time.monotonic() > end or self._starts() >= STARTS:
                    raise HostError(f"the control plane does not answer; its last words: {self._words()}") from error
            time.sleep(LOOK_EVERY)

    def _starts(self) -> int:
        """How often systemd has started it again by itself since somebody asked for a start."""
        said = run("systemctl", "show", "--property=NRestarts", "--value", UNIT).strip()
        return int(said) if said.isdigit() else 0

    def _words(self) -> str:
        """What the service said last, as one line."""
        said = run("journalctl", "--no-pager", "--output=cat", "--lines=10", f"--unit={UNIT}")
        return " ".join(said.split())[-800:]

    def _forget_others(self, kept: set[Path]) -> None:
        for place in (self._programs.resolve() / "releases").iterdir():
            if place not in kept:
                shutil.rmtree(place, ignore_errors=True)
