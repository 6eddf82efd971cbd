"""What an attempt keeps on disk of where it stands."""

from __future__ import annotations

import threading
from pathlib import Path

from worker_bootstrap.agent.attempt.state import RUNNING, AttemptState, StateFile

WRITERS = 4
TIMES = 100


def test_two_threads_may_keep_the_state_at_once(tmp_path: Path) -> None:
    """The attempt's own thread, and the one that hears of a stop."""
    file = StateFile(tmp_path)
    failed: list[OSError] = []

    def write() -> None:
        for _ in range(TIMES):
            try:
                file.save(AttemptState(phase=RUNNING))
            except OSError as error:
                failed.append(error)

    threads = [threading.Thread(target=write) for _ in range(WRITERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert file.load().phase == RUNNING
