"""`remora server chores`, as people type it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from chores.rig import ChoreRig

pytestmark = pytest.mark.needs("redis")
REMORA = Path(sys.executable).with_name("remora")


def remora(rig: ChoreRig, *words: str, **changes: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("REMORA_")}
    environment |= {
        "REMORA_HOME": str(rig.settings.home),
        "REMORA_DATABASE_URL": rig.settings.database_url.get_secret_value(),
        "COLUMNS": "200",
        **changes,
    }
    command = [str(REMORA), "server", "chores", *words]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)


def test_run_waits_for_the_result_and_the_list_shows_it(rig: ChoreRig) -> None:
    rig.start_relay()
    rig.start_process()
    ran = remora(rig, "run", "retention", "--dry-run")
    assert ran.returncode == 0, ran.stderr
    lines = ran.stdout.splitlines()
    assert "retention waits as " in lines[0]
    assert [line.split() for line in lines[-3:]][1:] == [["machine", "events", "0"], ["chores", "0"]]

    ran = remora(rig, "run", "housekeeping", "--json")
    assert json.loads(ran.stdout)["result"] == dict.fromkeys(
        ("sessions", "tokens", "idempotency keys", "login links", "wrong logins"), 0
    )

    listed = remora(rig)
    assert listed.returncode == 0, listed.stderr
    rows = [line.split() for line in listed.stdout.splitlines()]
    assert rows[0] == ["KIND", "STATE", "ASKED", "TOOK", "TRIES", "WHAT"]
    assert rows[1][:2] == ["housekeeping", "done"]
    assert rows[2][:4] == ["retention", "(dry", "run)", "done"]
    as_json = json.loads(remora(rig, "--json", "-n", "1").stdout)
    assert [(one["kind"], one["state"], one["tries"]) for one in as_json] == [("housekeeping", "done", 1)]


def test_a_failure_is_told_with_exit_code_1(rig: ChoreRig) -> None:
    ran = remora(rig, "run", "brew")
    assert ran.returncode == 1
    assert "There is no chore 'brew'; there are: data-retention, git-fetch, git-forget, git-snapshot, " in ran.stderr


def test_without_processes_it_says_where_to_look(rig: ChoreRig) -> None:
    ran = remora(rig, "run", "housekeeping", REMORA_START_TIMEOUT="0.5")
    assert ran.returncode == 1
    assert "nobody takes it: look at the processes `loops` and `chores`" in ran.stderr
    assert json.loads(remora(rig, "--json").stdout)[0]["state"] == "queued"
