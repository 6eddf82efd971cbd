"""What is asked of the loops is done when it is asked, not when they look next."""

from __future__ import annotations

import pytest

from fixtures.bench import make_bench
from fixtures.inputs import FileServer
from fixtures.stack import running_stack

pytestmark = pytest.mark.needs("redis", "engine", "image")
# They look once in five minutes; the lease lasts so long that this is often enough.
SETTINGS = {"REMORA_DISPATCH_INTERVAL": "300", "REMORA_LEASE_TTL": "1200"}


def test_an_execution_is_granted_and_stopped_long_before_the_loops_look_by_themselves(served: FileServer) -> None:
    with running_stack(SETTINGS) as stack:
        bench = make_bench(stack, served, "knock")
        assert bench.run("echo here").lines("stdout") == ["here"]
        endless = bench.start("sleep 600")
        stack.wait(endless, ("started",))
        stack.stop_execution(endless)
        assert bench.end(endless).shown["status"] == "stopped"
