"""The agent's log: from the container's standard output to the log store."""

from __future__ import annotations

import gzip
import re
from dataclasses import dataclass
from datetime import UTC, datetime

from benchmarks.measures import MIB, Peak, cpu_seconds
from benchmarks.table import Row, at_least
from fixtures.bench import Bench
from fixtures.stack import Stack

LINES = 4_000_000
SECRET = "a-secret-of-the-benchmark"
# 80 bytes with the newline: a number, the secret once in 10,000 lines, text.
PRINTER = """
import os, sys, time
secret = os.environ["HIDDEN"]
tail = " loss=0.1234 accuracy=0.5678 lr=0.00100 eta=00:12:34 a usual line"
lines = ["line @%04d" % n + tail for n in range(10000)]
lines[5000] = "line @5000 " + secret + tail[len(secret) + 1:]
block = "\\n".join(lines) + "\\n"
for n in range(COUNT // 10000):
    sys.stdout.write(block.replace("@", "%05d" % n))
"""
NUMBER = re.compile(rb'"stdout","line (\d{9}) ')


@dataclass(frozen=True)
class Stored:
    """What the store holds of an attempt's log. `took` in seconds from the first line to the last segment."""

    lines: int
    in_order: bool
    masked: bool
    took: float


def throughput(bench: Bench) -> list[Row]:
    """Lines a second until the last of them stands in the store, and the CPU that keeper and agent took for them."""
    return measure(bench, LINES)


def ten_gigabytes(bench: Bench) -> list[Row]:
    """The same for a log of 10 GB: the memory has to stay where it is."""
    return measure(bench, 125_000_000)


def measure(bench: Bench, lines: int) -> list[Row]:
    """`lines` is a multiple of 10,000."""
    with bench.stack.api() as api:
        body = {"name": "HIDDEN", "value": SECRET, "secret": True}
        api.post(f"projects/{bench.project}/environment_variable/", json=body).raise_for_status()
    agent = bench.stack.pids()["agent"]
    peak = Peak(bench.stack.pids())
    before = cpu_seconds(agent)
    execution = bench.start(f"python -c '{PRINTER.replace('COUNT', str(lines))}'")
    bench.stack.wait(execution, timeout=60 + lines / 50_000)
    used = cpu_seconds(agent) - before
    memory = peak.stop()
    stored = look(bench.stack, execution)
    lost = lines - stored.lines
    how = f"{lines:,} lines of 80 bytes, {lost} lost, {'in order' if stored.in_order else 'NOT IN ORDER'}"
    how += ", the secret masked" if stored.masked else ", A SECRET IS THERE"
    return [
        Row("log, stdout to store", lines / stored.took, "lines/s", how, target=at_least(300_000)),
        Row("log, CPU of agent and keeper", used / lines * 1e6, "us", "for one line"),
        Row("log to store, agent's peak memory", memory / MIB, "MiB", f"PSS while {lines * 80 / 1e9:.2g} GB went by"),
    ]


def look(stack: Stack, execution: str) -> Stored:
    """Read every segment of the execution's one attempt."""
    count, expected, in_order, masked = 0, 0, True, True
    first, last = "", 0.0
    for path in sorted((stack.home / "stores" / "logs").glob(f"**/{execution}/*/*.gz")):
        last = max(last, path.stat().st_mtime)
        text = gzip.decompress(path.read_bytes())
        masked = masked and SECRET.encode() not in text
        numbers = [int(number) for number in NUMBER.findall(text)]
        first = first or _time_of_first(text)
        in_order = in_order and numbers == list(range(expected, expected + len(numbers)))
        count += len(numbers)
        expected += len(numbers)
    began = datetime.fromisoformat(first).replace(tzinfo=UTC).timestamp()
    return Stored(count, in_order, masked, last - began)


def _time_of_first(text: bytes) -> str:
    """Time of the first line of these that the printer wrote; empty when there is none."""
    found = re.search(rb'^\[\d+,"([^"]+)","stdout","line ', text, re.MULTILINE)
    return found[1].decode() if found else ""
