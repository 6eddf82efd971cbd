"""Starts a control plane of its own, measures it, prints one table."""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

# The fixture that starts a whole control plane is the tests'.
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from benchmarks import agent_log, measures, page, scale  # noqa: E402
from benchmarks.agent_bytes import transfers  # noqa: E402
from benchmarks.agent_many import many  # noqa: E402
from benchmarks.control_path import control_path  # noqa: E402
from benchmarks.noise import noise  # noqa: E402
from benchmarks.table import Row, as_text  # noqa: E402
from benchmarks.viewers import viewers  # noqa: E402
from fixtures.bench import Bench, make_bench  # noqa: E402
from fixtures.inputs import FileServer  # noqa: E402
from fixtures.stack import running_stack  # noqa: E402

# These start what they need themselves.
ALONE: Mapping[str, Callable[[], list[Row]]] = {
    "path": control_path,
    "viewers": viewers,
    "bytes": transfers,
    "many": many,
}
# These share one running control plane, in this order: the last ones leave it full.
TOGETHER: Mapping[str, Callable[[Bench], list[Row]]] = {
    "memory": measures.idle_memory,
    "accept": measures.accept,
    "start": measures.accept_to_start,
    "line": measures.line_to_browser,
    "log": measures.log_throughput,
    "store": agent_log.throughput,
    "scale": scale.scale,
    "log10g": agent_log.ten_gigabytes,
}
# Minutes each: measured when they are named, and for a table that is kept.
LONG = ("log10g",)


def main() -> None:
    """Measure what is named; when nothing is, all that does not take long, or all of it for a table that is kept."""
    known = [*ALONE, *TOGETHER]
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(known)}")
    parser.add_argument("--write", action="store_true", help="keep the table in docs/reference/benchmarks.md")
    given = parser.parse_args()
    unknown = [name for name in given.names if name not in known]
    if unknown:
        parser.error(f"no such measure: {', '.join(unknown)}; there is: {', '.join(known)}")
    if given.write and given.names:
        parser.error("only a whole run is written: name no measure beside --write")
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    print(f"{machine}\n", flush=True)
    began = time.monotonic()
    rows = noise("before") + measure(given.names or usual(keep=given.write)) + noise("after")
    print(as_text(rows))
    print(f"\ntook {time.monotonic() - began:.0f} s")
    if given.write:
        page.write(rows, machine)


def usual(*, keep: bool) -> list[str]:
    """What is measured when nothing is named."""
    return [name for name in (*ALONE, *TOGETHER) if keep or name not in LONG]


def measure(names: list[str]) -> list[Row]:
    """The rows of these measures."""
    rows: list[Row] = []
    for name in (name for name in ALONE if name in names):
        rows += ALONE[name]()
    together = [name for name in TOGETHER if name in names]
    if not together:
        return rows
    with running_stack(quick=False) as stack:
        bench = make_bench(stack, FileServer(), "bench")
        warm = bench.run("true")
        if warm.shown["status"] != "complete":
            raise SystemExit(f"the first execution ended as {warm.text}")
        for name in together:
            rows += TOGETHER[name](bench)
    return rows


if __name__ == "__main__":
    main()
