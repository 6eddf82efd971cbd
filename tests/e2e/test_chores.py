"""Chores of a whole installation on one machine."""

from __future__ import annotations

import json
import os
import subprocess

import httpx

from fixtures.stack import REMORA, Stack, wait_until


def _chores(stack: Stack, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("REMORA_")}
    environment |= {"REMORA_HOME": str(stack.home), "COLUMNS": "200"}
    command = [str(REMORA), "server", "chores", *words]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=90)


def test_the_schedule_has_run_and_a_person_can_ask(stack: Stack) -> None:
    def scheduled() -> bool:
        rows = json.loads(_chores(stack, "--json", "-n", "100").stdout)
        return {"housekeeping", "retention"} <= {row["kind"] for row in rows if row["state"] == "done"}

    wait_until(scheduled, 60, "the chores of the schedule", 1)
    asked = _chores(stack, "run", "retention", "--dry-run")
    assert asked.returncode == 0, asked.stderr
    assert "machine events" in asked.stdout


def test_the_process_is_killed_and_chores_go_on(stack: Stack) -> None:
    stack.kill("chores")
    assert httpx.get(f"{stack.url}/readyz", timeout=5, trust_env=False).status_code == 200
    asked = _chores(stack, "run", "housekeeping", "--json")
    assert asked.returncode == 0, asked.stderr
    assert json.loads(asked.stdout)["state"] == "done"
