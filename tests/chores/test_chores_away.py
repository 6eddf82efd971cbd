"""The chores' Redis is away: everything else goes on."""

from __future__ import annotations

import threading

import pytest

from chores.rig import ChoreRig
from controlplane.processes.loops import Loops, build_parts
from controlplane.web.app import create_app
from controlplane.web.services import build_services

pytestmark = pytest.mark.needs("redis")


def test_loops_and_web_are_ready_without_it(rig: ChoreRig) -> None:
    rig.server.stop()
    chore = rig.ask("housekeeping")
    stop = threading.Event()
    parts = build_parts(rig.settings)
    loops = threading.Thread(target=Loops(parts).run, args=(stop,), daemon=True)
    loops.start()
    rig.until(lambda: (rig.settings.run_dir / "loops.ready").exists(), "the loops")
    services = build_services(rig.settings)
    assert create_app(services).test_client().get("/readyz").status_code == 200
    assert rig.look(chore).state == "queued"

    # The real loops and the real process, once it is back.
    rig.server.start()
    rig.start_process()
    assert rig.ended(chore).state == "done"
    stop.set()
    loops.join(30)
    assert not loops.is_alive()
    parts.db.engine.dispose()
    services.db.engine.dispose()
