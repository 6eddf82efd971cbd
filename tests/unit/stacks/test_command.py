"""A wizard that is killed: what Pulumi has begun is finished, and the next wizard waits for that."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from fixtures.stack import wait_until
from stacks.wizard.command import after_the_former
from stacks.wizard.places import Place

PULUMI = """#!/bin/sh
[ "$1" = version ] && exec echo v3.259.0
touch "$FOLDER/begun"
while [ ! -e "$FOLDER/go" ]; do sleep 0.05; done
echo "a line that nobody reads any more" && echo "and another" >&2 && touch "$FOLDER/finished"
"""
WIZARD = """
import os
from pathlib import Path
from stacks.wizard.command import LastingCommand, after_the_former
from stacks.wizard.places import Place

folder = os.environ["FOLDER"]
place = Place(Path(folder), "lab")
place.make()
with after_the_former(place, print) as held:
    LastingCommand(held).run(["up"], folder, {})
"""


def test_what_a_killed_wizard_began_is_finished_before_the_next_one_begins(tmp_path: Path) -> None:
    program = tmp_path / "bin" / "pulumi"
    program.parent.mkdir()
    program.write_text(PULUMI)
    program.chmod(0o755)
    path = f"{program.parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "FOLDER": str(tmp_path)}
    wizard = subprocess.Popen([sys.executable, "-c", WIZARD], env=environment, start_new_session=True)
    try:
        wait_until((tmp_path / "begun").exists, 60, "Pulumi")
    finally:
        os.killpg(wizard.pid, signal.SIGKILL)
        wizard.wait(10)

    told: list[str] = []

    def say(text: str, data: dict[str, Any]) -> None:
        assert not (tmp_path / "finished").exists()
        told.append(data["event"])
        (tmp_path / "go").touch()

    with after_the_former(Place(tmp_path, "lab"), say):
        assert (tmp_path / "finished").exists()
    assert told == ["finishing"]
    with after_the_former(Place(tmp_path, "lab"), say):
        assert told == ["finishing"]
