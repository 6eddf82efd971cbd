"""/valohai/config: what user code reads about its own execution. Every object as .json, and as .yaml (JSON is YAML)."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from worker_bootstrap.agent import VERSION
from worker_bootstrap.protocol.job import Job

CONFIG = "/valohai/config"
NOT_YAML = re.compile("[\x7f-\x9f\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff]")
SCRIPT = f"{CONFIG}/command.sh"
# The shell waits for the command that runs when a signal comes, and then ends: so the command can save its work.
SHELL = f"trap 'exit 130' INT; trap 'exit 143' TERM; . {SCRIPT}"


def objects(job: Job, inputs: dict[str, Any], api: dict[str, Any]) -> dict[str, Any]:
    """The objects by file stem."""
    alone = {"config": {"group_name": "", "member_id": "0", "required_count": 1}, "members": [], "self": {}}
    return {
        "parameters": {},
        "execution": {},
        "distributed": alone,
        **job.config,
        "inputs": inputs,
        "api": api,
        "runtime": {"agent": VERSION, "attempt": job.attempt, "attempt-number": job.number, "worker": job.worker},
    }


def write_config(folder: Path, job: Job, inputs: dict[str, Any], api: dict[str, Any]) -> None:
    """All files of the configuration folder, the command's script too. Raises OSError."""
    for name, value in objects(job, inputs, api).items():
        text = _escaped(json.dumps(value, indent=1, ensure_ascii=False))
        for suffix in ("json", "yaml"):
            _write(folder / f"{name}.{suffix}", text + "\n", 0o644)
    _write(folder / "command.sh", job.container.command.rstrip("\n") + "\n", 0o755)


def command_line(command: str) -> list[str]:
    """What the container runs: a script with a shebang by itself, another by the image's shell.

    The shell goes on after a failing line, so only the last command's code counts.
    """
    return [SCRIPT] if command.startswith("#!") else ["/bin/sh", "-c", SHELL]


def _escaped(text: str) -> str:
    """JSON that is YAML too: characters that YAML does not take, or takes for line ends, are written as escapes."""
    return NOT_YAML.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _write(path: Path, text: str, mode: int) -> None:
    path.unlink(missing_ok=True)
    path.write_text(text, encoding="utf-8", errors="surrogateescape")
    path.chmod(mode)
