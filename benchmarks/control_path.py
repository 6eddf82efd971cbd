"""The control plane's own part of an execution: from an HTTP request to the committed end, without containers."""

from __future__ import annotations

import http.client
import json
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import psycopg

from benchmarks.measures import cpu_seconds
from benchmarks.plane import Plane
from benchmarks.table import Row, at_least
from dispatch.fake_worker import TIME, FakeWorker
from fixtures.bench import Bench, make_bench
from fixtures.database import find_postgres, running_postgres
from fixtures.inputs import FileServer
from worker_bootstrap.protocol.messages import Accepted, End

WORKERS, SLOTS = 4, 16
SUBMITTERS, EACH = 4, 250
WARM = 20
LONGEST = 300.0


@dataclass
class Ran:
    """Seconds from the first request to the last committed end, and seconds of CPU by process meanwhile."""

    took: float
    cpu: dict[str, float]


def control_path() -> list[Row]:
    """Executions a second with SQLite and with PostgreSQL."""
    with running_plane() as plane:
        rows = _rows("SQLite", measured(plane, {}))
    programs = find_postgres()
    if programs is None:
        raise SystemExit("PostgreSQL is not installed (apt-get install postgresql)")
    with running_postgres(programs) as server:
        with psycopg.connect(f"{server.address}/postgres", autocommit=True) as connection:
            connection.execute("CREATE DATABASE remora_bench")
        with running_plane(f"{server.address}/remora_bench") as plane:
            rows += _rows("PostgreSQL", measured(plane, {"postgres": server.pid}))
    return rows


@contextmanager
def running_plane(database: str = "") -> Iterator[Plane]:
    """The processes in a folder of their own."""
    home = Path(tempfile.mkdtemp(prefix="remora-bench-"))
    plane = Plane(home, database)
    try:
        plane.start()
        yield plane
    finally:
        plane.stop()
        shutil.rmtree(home, ignore_errors=True)


def _rows(database: str, ran: Ran) -> list[Row]:
    count = SUBMITTERS * EACH
    spent = ", ".join(f"{name} {seconds / count * 1000:.1f}" for name, seconds in ran.cpu.items())
    how = f"{count:,} by {SUBMITTERS} submitters, {WORKERS} workers; CPU in ms each: {spent}"
    return [Row(f"control path, {database}", count / ran.took, "/s", how, target=at_least(60))]


def measured(plane: Plane, others: dict[str, int]) -> Ran:
    """Everything accepted, granted, ended, committed and acknowledged."""
    bench = make_bench(plane, FileServer(), "bench")
    workers = [QuickWorker(plane) for _ in range(WORKERS)]
    try:
        submit(bench, WARM)
        until_complete(bench, WARM)
        pids = {**plane.pids(), **others}
        before = {name: cpu_seconds(pid) for name, pid in pids.items()}
        client, began = time.process_time(), time.monotonic()
        threads = [threading.Thread(target=submit, args=(bench, EACH)) for _ in range(SUBMITTERS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        ended = until_complete(bench, WARM + SUBMITTERS * EACH)
        cpu = {name: cpu_seconds(pid) - before[name] for name, pid in pids.items()}
        return Ran(ended - began, {**cpu, "client": time.process_time() - client})
    finally:
        for worker in workers:
            worker.stop()


def submit(bench: Bench, count: int) -> None:
    """Accept so many, one after the other on one connection."""
    body = json.dumps({"project": bench.project, "commit": bench.commit, "step": "any", "command": "true"})
    headers = {"Authorization": f"Token {bench.stack.access['token']}", "Content-Type": "application/json"}
    connection = http.client.HTTPConnection(urlsplit(bench.stack.url).netloc, timeout=60)
    for _ in range(count):
        connection.request("POST", "/api/v0/executions/", body, headers)
        answer = connection.getresponse()
        said = answer.read()
        if answer.status != 201:
            raise RuntimeError(f"not accepted: {answer.status} {said[:500]!r}")
    connection.close()


def until_complete(bench: Bench, count: int) -> float:
    """When so many have ended: what people see, at most 50 ms late."""
    deadline = time.monotonic() + LONGEST
    with bench.stack.api() as api:
        query = {"project": bench.project, "status": "complete", "limit": 1}
        while True:
            found = api.get("executions/", params=query).raise_for_status().json()["count"]
            now = time.monotonic()
            if found >= count:
                return now
            if now > deadline:
                raise TimeoutError(f"{found} of {count} have ended")
            time.sleep(0.05)


class QuickWorker:
    """A machine that takes every grant and says at once that it is over. It beats as a real one does."""

    def __init__(self, plane: Plane) -> None:
        secrets = plane.home / "keys"
        address = f"redis://127.0.0.1:{plane.redis_port}/0"
        password = (secrets / "redis-join.secret").read_text().strip()
        secret = (secrets / "join.secret").read_text().strip()
        self._worker = FakeWorker(address, password, group="this-machine", join_secret=secret)
        self._worker.slots = SLOTS
        reply = self._worker.join()
        if reply.error:
            raise RuntimeError(reply.error)
        self._beat_every = float(reply.settings["beat_interval"])
        self._worker.hello()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(10)

    def _run(self) -> None:
        worker, next_beat = self._worker, 0.0
        taken: set[str] = set()
        while not self._stop.is_set():
            if time.monotonic() >= next_beat:
                worker.beat(free=SLOTS)
                next_beat = time.monotonic() + self._beat_every
            for message in worker.listen():
                worker.inbox.clear()
                if message.kind != "grant" or message.attempt in taken:
                    continue
                taken.add(message.attempt)
                accepted = worker.next("accepted", message.attempt, Accepted())
                end = worker.next("end", message.attempt, End("complete", "done", TIME, 0, lines=0))
                worker.send(accepted, end)
