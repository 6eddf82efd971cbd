"""What this machine is to the master; no secret is shown."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import Any

from worker_bootstrap.agent.files import read_json
from worker_bootstrap.host.errors import HostError
from worker_bootstrap.host.places import Releases


def look(home: Path, releases: Releases) -> dict[str, Any]:
    """State of the agent in `home`. Raises HostError, OSError."""
    if not home.is_dir():
        raise HostError(f"There is no {home}: `remora-agent join` makes it.")
    try:
        settings = read_json(home / "agent.json")
        keys = read_json(home / "identity" / "keys.json", {})
        member = read_json(home / "identity" / "worker.json", {})
    except ValueError as error:
        raise HostError(f"a file in {home} is no JSON: {error}") from error
    if settings is None:
        raise HostError(f"{home} holds no agent.json: `remora-agent join` writes it.")
    return {
        "running": is_running(home),
        "joined": bool(member),
        "machine": keys.get("machine") or settings.get("machine", ""),
        "worker": member.get("worker", ""),
        "installation": member.get("installation", ""),
        "group": settings.get("group", ""),
        "queue": settings.get("queue_url", ""),
        "slots": settings.get("slots", 1),
        "attempts": sorted(path.parent.name for path in (home / "work").glob("*/job.json")),
        "release": releases.installed(),
        "former_release": releases.former(),
    }


def is_running(home: Path) -> bool:
    """Whether an agent holds this folder."""
    try:
        handle = os.open(home / "agent.lock", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False
