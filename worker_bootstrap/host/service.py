"""The agent as a service of systemd."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from worker_bootstrap.host.errors import HostError
from worker_bootstrap.host.places import HOME

UNIT = "remora-agent.service"
UNITS = Path("/etc/systemd/system")
CACHE = Path("/var/cache/remora-agent")
SYSTEMD_RUNS = Path("/run/systemd/system")
SYSTEMCTL_SECONDS = 90


@dataclass(frozen=True)
class Service:
    """Where the unit stands and what it starts."""

    root: Path
    home: Path
    units: Path = UNITS

    def text(self) -> str:
        """The unit. Pure."""
        template = (files("worker_bootstrap") / "units" / UNIT).read_text()
        if self.home == HOME:
            cache, folders = CACHE, ["StateDirectory=remora-agent", "CacheDirectory=remora-agent"]
            folders += ["StateDirectoryMode=0700", "CacheDirectoryMode=0700"]
        else:
            cache, folders = self.home / "pex", [f"ReadWritePaths={self.home}"]
        values = {
            "ROOT": str(self.root),
            "HOME": str(self.home),
            "CACHE": str(cache),
            "DIRECTORIES": "\n".join(folders),
        }
        for name, value in values.items():
            template = template.replace(f"@{name}@", value)
        return template

    def write(self) -> Path:
        """Write the unit. Raises HostError for paths that a unit can't hold, OSError."""
        for path in (self.root, self.home):
            if any(letter.isspace() or letter in "%\"'\\" for letter in str(path)):
                raise HostError(f"{path}: a folder without spaces, quotes and % is expected.")
        self.units.mkdir(parents=True, exist_ok=True)
        path = self.units / UNIT
        path.write_text(self.text())
        path.chmod(0o644)
        return path

    def enable(self) -> bool:
        """Start it now and at each boot; False where systemd does not run. Raises HostError."""
        if not SYSTEMD_RUNS.is_dir():
            return False
        _systemctl("daemon-reload")
        _systemctl("enable", UNIT)
        _systemctl("restart", UNIT)
        return True


def _systemctl(*words: str) -> None:
    try:
        done = subprocess.run(["systemctl", *words], capture_output=True, text=True, timeout=SYSTEMCTL_SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise HostError(f"systemctl {' '.join(words)}: {error}") from error
    if done.returncode != 0:
        raise HostError(f"systemctl {' '.join(words)}: {done.stderr.strip() or done.stdout.strip()}")
