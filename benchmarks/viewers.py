"""From a print in a container to many readers of the live stream."""

from __future__ import annotations

import asyncio
import json
import statistics
import time
from urllib.parse import urlsplit

from benchmarks.measures import cpu_seconds
from benchmarks.table import Row, at_most
from fixtures.bench import Bench, make_bench
from fixtures.inputs import FileServer
from fixtures.stack import running_stack

VIEWERS = 200
LOGS = 20
SECONDS = 12.0
PRINTS = "import time\nwhile True:\n    print(time.time(), flush=True)\n    time.sleep({pause})"
END_OF_HEAD = b"\r\n"


def viewers() -> list[Row]:
    """Delays with all viewers at one log, and with as many at several."""
    with running_stack(agent={"slots": LOGS}, quick=False) as stack:
        bench = make_bench(stack, FileServer(), "bench")
        bench.run("true")
        return [*_watched(bench, 1, 0.1), *_watched(bench, LOGS, 0.5)]


def _watched(bench: Bench, logs: int, pause: float) -> list[Row]:
    stack = bench.stack
    command = f'python -c "{PRINTS.format(pause=pause)}"'
    executions = [bench.start(command) for _ in range(logs)]
    for execution in executions:
        stack.wait(execution, ("started",), timeout=120)
        stack.wait_for_line(execution, "1", timeout=120)
    pid = stack.pids()["stream"]
    before, began = cpu_seconds(pid), time.monotonic()
    delays = sorted(asyncio.run(_all(bench, executions)))
    used = (cpu_seconds(pid) - before) / (time.monotonic() - began)
    for execution in executions:
        stack.stop_execution(execution)
    for execution in executions:
        bench.end(execution, timeout=120)
    what = "one log" if logs == 1 else f"{logs} logs"
    how = f"{len(delays):,} events, median {statistics.median(delays):.3f} s, {1 / pause:.0f} lines/s of each log; "
    how += f"`stream` used {used * 100:.0f} % of a core"
    return [
        Row(
            f"line to {VIEWERS} viewers of {what}, p95",
            delays[int(len(delays) * 0.95)],
            "s",
            how,
            "a person takes up to 0.1 s for at once",
            at_most(0.3),
        )
    ]


async def _all(bench: Bench, executions: list[str]) -> list[float]:
    """Seconds from print to arrival of what was printed while everybody looked."""
    address = f"{bench.stack.url}/api/v1/executions"
    with bench.stack.api() as api:
        wanted = [executions[number % len(executions)] for number in range(VIEWERS)]
        tickets = [api.post(f"{address}/{one}/stream-ticket/").raise_for_status().json()["ticket"] for one in wanted]
    delays: list[float] = []
    since = asyncio.get_running_loop().create_future()
    looking = [
        asyncio.create_task(_view(bench, execution, ticket, since, delays))
        for execution, ticket in zip(wanted, tickets, strict=True)
    ]
    await asyncio.sleep(3)
    since.set_result(time.time())
    await asyncio.sleep(SECONDS)
    broken = [task for task in looking if task.done()]
    for task in looking:
        task.cancel()
    await asyncio.gather(*looking, return_exceptions=True)
    if broken:
        raise RuntimeError(f"{len(broken)} viewers were closed: {broken[0].exception()!r}")
    return delays


async def _view(bench: Bench, execution: str, ticket: str, since: asyncio.Future[float], delays: list[float]) -> None:
    """One viewer, as a browser is one: every event is read and understood."""
    reader, writer = await asyncio.open_connection("127.0.0.1", bench.stack.stream_port, limit=1 << 22)
    head = [
        f"GET /stream/executions/{execution}/log HTTP/1.0",
        f"Host: {urlsplit(bench.stack.url).netloc}",
        f"Authorization: Ticket {ticket}",
    ]
    writer.write("\r\n".join([*head, "", ""]).encode())
    status = await reader.readline()
    if b" 200 " not in status:
        raise RuntimeError(f"refused: {status!r}")
    while await reader.readline() != END_OF_HEAD:
        pass
    kind = b""
    async for line in reader:
        if line.startswith(b"event:"):
            kind = line[6:].strip()
        elif line.startswith(b"data:") and kind == b"line" and since.done():
            arrived = time.time()
            for _, _, stream, message in json.loads(line[5:]):
                if stream == "stdout" and float(message) >= since.result():
                    delays.append(arrived - float(message))
    raise RuntimeError("the stream ended")
