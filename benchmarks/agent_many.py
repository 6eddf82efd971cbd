"""Many short executions on one agent with many slots: how fast they end, and what is left of them."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

from benchmarks.table import Row, at_most
from fixtures.bench import make_bench
from fixtures.inputs import FileServer
from fixtures.stack import Stack, running_stack, wait_until

COUNT = 200
SLOTS = 20
LONGEST = 600.0


def many() -> list[Row]:
    """`COUNT` executions of `true`; all have to be complete, and nothing of them may stay on the machine."""
    with running_stack(quick=False, agent={"slots": SLOTS}) as stack:
        bench = make_bench(stack, FileServer(), "many")
        bench.run("true")
        stack.wait_for_clean_worker()
        before = held(stack)
        began = time.monotonic()
        with stack.api() as api:

            def count(status: str) -> int:
                query = {"project": bench.project, "status": status, "limit": 1}
                return api.get("executions/", params=query).raise_for_status().json()["count"]

            for _ in range(COUNT):
                body = {"project": bench.project, "commit": bench.commit, "step": "any", "command": "true"}
                api.post("executions/", json=body).raise_for_status()
            wait_until(lambda: count("incomplete") == 0, LONGEST, f"the end of {COUNT} executions")
            took = time.monotonic() - began
            complete = count("complete") - 1
        stack.wait_for_clean_worker(60)
        # The pools of connections keep one a slot open; threads of attempts have to be gone.
        time.sleep(2)
        after = held(stack)
        left = {name: after[name] - before[name] for name in after}
    how = f"{COUNT} of `true` on {SLOTS} slots, {complete} complete, in {took:.0f} s"
    return [
        Row("executions, one agent", COUNT / took, "/s", how),
        Row("left by them", left["container"] + left["network"], "", "containers and networks", target=at_most(0)),
        Row("threads left by them", left["threads"], "", f"{after['threads']} afterwards", target=at_most(4)),
        Row("files left open by them", left["files"], "", f"{after['files']} afterwards", target=at_most(SLOTS)),
    ]


def held(stack: Stack) -> dict[str, int]:
    """Open files and threads of the agent, containers and networks of its attempts."""
    pid = stack.pids()["agent"]
    installation = stack.query("SELECT id FROM installation")[0][0]
    label = f"label=remora.installation={installation[:8]}-{installation[8:12]}-{installation[12:16]}-"
    label += f"{installation[16:20]}-{installation[20:]}"
    listings = {
        "container": ["docker", "ps", "-aq", "--filter", label],
        "network": ["docker", "network", "ls", "-q", "--filter", label],
    }
    found = {
        name: len(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())
        for name, command in listings.items()
    }
    threads = len(list(Path(f"/proc/{pid}/task").iterdir()))
    return {**found, "files": len(list(Path(f"/proc/{pid}/fd").iterdir())), "threads": threads}
