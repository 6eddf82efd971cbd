"""Short requests and viewers of live logs in one pool of threads."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Any

from controlplane.web.lanes import Lanes


def test_short_requests_wait_for_each_other_but_viewers_for_nobody() -> None:
    inside, go, most, seen = threading.Semaphore(0), threading.Event(), threading.Lock(), [0, 0]

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        with most:
            seen[0] += 1
            seen[1] = max(seen)
        inside.release()
        assert go.wait(10)
        with most:
            seen[0] -= 1
        return [b"done"]

    lanes = Lanes(app, 2)
    short = [threading.Thread(target=lanes, args=({"PATH_INFO": "/api/v0/"}, None)) for _ in range(5)]
    for thread in short:
        thread.start()
    for _ in range(2):
        assert inside.acquire(timeout=10)
    viewer = threading.Thread(target=lanes, args=({"PATH_INFO": "/stream/executions/x/log"}, None))
    viewer.start()
    assert inside.acquire(timeout=10), "a viewer waits for no place"
    assert not inside.acquire(timeout=0.2), "a third short request waits"
    go.set()
    for thread in (*short, viewer):
        thread.join(10)
    assert seen == [0, 3]
