"""The measures. Each takes a project on a running control plane and gives rows of the table."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path

from benchmarks.sse import follow
from benchmarks.table import Row, at_most
from fixtures.bench import Bench
from fixtures.stack import ROOT
from fixtures.work import IMAGE

TICKS = os.sysconf("SC_CLK_TCK")
ACCEPTS = 100
STARTS = 10
LOG_LINES = 500_000
IDLE = 15.0
MIB = 1024 * 1024


def idle_memory(bench: Bench) -> list[Row]:
    """Proportional memory of every process when nothing happens."""
    time.sleep(IDLE)
    environment = {**os.environ, "REMORA_HOME": str(bench.stack.home)}
    command = [str(Path(sys.executable).with_name("remora")), "server", "status", "--json"]
    said = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    memory: dict[str, int] = json.loads(said)["memory"]
    parts = ", ".join(f"{name} {size / MIB:.0f}" for name, size in memory.items())
    return [Row("memory, idle", sum(memory.values()) / MIB, "MiB", f"PSS: {parts}", target=at_most(300))]


def accept(bench: Bench) -> list[Row]:
    """CPU of `web`, and what the client waits, for one accepted execution."""
    pid = bench.stack.pids()["web"]
    body = {"project": bench.project, "commit": bench.commit, "step": "any", "command": "true"}
    waits = []
    with bench.stack.api() as api:
        api.post("executions/", json=body).raise_for_status()
        before = cpu_seconds(pid)
        for _ in range(ACCEPTS):
            began = time.perf_counter()
            api.post("executions/", json=body).raise_for_status()
            waits.append(time.perf_counter() - began)
        used = cpu_seconds(pid) - before
    stop_all(bench)
    return [
        Row(
            "accept, CPU of web", used / ACCEPTS * 1000, "ms", f"mean of {ACCEPTS}, while others run", target=at_most(8)
        ),
        Row("accept, until answered", statistics.median(waits) * 1000, "ms", f"median of {ACCEPTS}"),
    ]


def accept_to_start(bench: Bench) -> list[Row]:
    """From sending the request to the command's first action, against the engine's own `docker run`."""
    ours, plain = [], []
    for _ in range(STARTS):
        began = time.time()
        ran = bench.run("date +%s.%N")
        ours.append(float(ran.lines("stdout")[0]) - began)
        began = time.time()
        command = ["docker", "run", "--rm", IMAGE, "date", "+%s.%N"]
        plain.append(float(subprocess.run(command, capture_output=True, text=True, check=True).stdout) - began)
    between = statistics.median(ours) - statistics.median(plain)
    how = f"{statistics.median(ours):.2f} s, median of {STARTS}, worst {max(ours):.2f} s"
    anchor = f"docker run {statistics.median(plain):.2f} s"
    return [
        Row("accept to command, beyond docker run", between, "s", how, anchor, at_most(0.3)),
    ]


def line_to_browser(bench: Bench) -> list[Row]:
    """From a print in the container to the event at a reader of the live stream."""
    execution = bench.start("for n in $(seq 100); do date +%s.%N; sleep 0.1; done")
    bench.stack.wait(execution, ("started",))
    delays: list[float] = []
    for arrived, message in follow(bench.stack, execution, timeout=30):
        if message.replace(".", "").isdigit():
            delays.append(arrived - float(message))
        if len(delays) >= 60:
            break
    bench.stack.stop_execution(execution)
    bench.end(execution)
    # The first come from the past: the reader joined later.
    fresh = sorted(delays[-50:])
    return [
        Row("line to browser", statistics.median(fresh), "s", f"median of {len(fresh)} by SSE"),
        Row("line to browser, p95", fresh[int(len(fresh) * 0.95)], "s"),
    ]


def log_throughput(bench: Bench) -> list[Row]:
    """Lines a second from a container that prints as fast as it can, until all of them can be read."""
    code = (
        f"import sys\nfor n in range({LOG_LINES}): sys.stdout.write('line %07d of a log with some text in it\\n' % n)"
    )
    peak = Peak(bench.stack.pids())
    began = time.monotonic()
    ran = bench.run(f'PYTHONUNBUFFERED= python -c "{code}"', timeout=300)
    took = time.monotonic() - began
    memory = peak.stop()
    numbers = [int(line[5:12]) for line in ran.lines("stdout")]
    lost = LOG_LINES - len(set(numbers))
    ordered = "in order" if numbers == sorted(numbers) else "NOT IN ORDER"
    return [
        Row(
            "log",
            LOG_LINES / took,
            "lines/s",
            f"{LOG_LINES:,} lines, {lost} lost, {ordered}, start and end of the execution counted",
        ),
        Row("log, agent's peak memory", memory / MIB, "MiB", "PSS while the log ran"),
    ]


class Peak:
    """The agent's highest memory, looked at twice a second."""

    def __init__(self, pids: dict[str, int]) -> None:
        self._pid = pids["agent"]
        self._highest = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def stop(self) -> int:
        """Bytes."""
        self._stop.set()
        self._thread.join()
        return self._highest

    def _look(self) -> None:
        while not self._stop.wait(0.5):
            try:
                lines = Path(f"/proc/{self._pid}/smaps_rollup").read_text().splitlines()
            except OSError:
                return
            size = next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)
            self._highest = max(self._highest, size)


def cpu_seconds(pid: int) -> float:
    """User and system time of a process and its children."""
    total = 0.0
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    total += (int(fields[11]) + int(fields[12])) / TICKS
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        total += sum(cpu_seconds(int(child)) for child in task.read_text().split())
    return total


def stop_all(bench: Bench) -> None:
    """End what waits and runs, and see the end of it."""
    with bench.stack.api() as api:
        query = {"project": bench.project, "status": "incomplete", "limit": 1000}
        for row in api.get("executions/", params=query).json()["results"]:
            api.post(f"executions/{row['id']}/stop/").raise_for_status()
        deadline = time.monotonic() + 60
        while api.get("executions/", params=query).json()["count"]:
            if time.monotonic() > deadline:
                raise TimeoutError("executions do not stop")
            time.sleep(0.2)
