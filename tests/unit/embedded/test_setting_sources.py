"""`remora server config`: where each setting comes from; secrets stay secret."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

REMORA = Path(sys.executable).with_name("remora")


def config(home: Path, *words: str, **environment: str) -> str:
    own = {name: value for name, value in os.environ.items() if not name.startswith("REMORA_")}
    done = subprocess.run(
        [str(REMORA), "server", "config", *words],
        env=own | {"REMORA_HOME": str(home)} | environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return done.stdout


def test_environment_wins_over_file_over_default(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text(
        'port = 9001\nchores_tries = 7\nchores = "redis://chores:hidden@127.0.0.1/0"\n'
    )
    shown: dict[str, Any] = json.loads(config(tmp_path, "--json", REMORA_PORT="9002"))
    assert shown["port"] == {"value": "9002", "source": "environment"}
    assert shown["chores_tries"] == {"value": "7", "source": "file"}
    assert shown["retention_machine_events"] == {"value": "7776000.0", "source": "default"}
    assert shown["chores"] == {"value": "redis://chores:********@127.0.0.1/0", "source": "file"}


@pytest.mark.security("N06")
def test_no_secret_is_printed(tmp_path: Path) -> None:
    secrets = {
        "REMORA_CHORES": "rediss://chores:hidden-1@127.0.0.1/0",
        "REMORA_QUEUE_URL": "redis://:hidden-2@127.0.0.1/0",
        "REMORA_DATABASE_URL": "postgresql://remora:hidden-3@127.0.0.1/remora",
    }
    for words in ((), ("--json",)):
        printed = config(tmp_path, *words, **secrets)
        assert "hidden" not in printed
        assert "127.0.0.1/remora" in printed
