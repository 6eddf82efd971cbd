"""Starts a control plane of its own, measures it, prints one table."""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path

# The fixture that starts a whole control plane is the tests'.
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from benchmarks import measures, scale  # noqa: E402
from fixtures.bench import make_bench  # noqa: E402
from fixtures.inputs import FileServer  # noqa: E402
from fixtures.stack import running_stack  # noqa: E402

MEASURES: dict[str, Callable[..., list[measures.Row]]] = {
    "memory": measures.idle_memory,
    "accept": measures.accept,
    "start": measures.accept_to_start,
    "line": measures.line_to_browser,
    "log": measures.log_throughput,
    "scale": scale.scale,
}


def main() -> None:
    """Measure what is named (all when nothing is)."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(MEASURES)}; all when none is given")
    names = parser.parse_args().names or list(MEASURES)
    unknown = [name for name in names if name not in MEASURES]
    if unknown:
        parser.error(f"no such measure: {', '.join(unknown)}; there is: {', '.join(MEASURES)}")
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}\n")
    rows: list[measures.Row] = []
    began = time.monotonic()
    with running_stack(quick=False) as stack:
        bench = make_bench(stack, FileServer(), "bench")
        warm = bench.run("true")
        if warm.shown["status"] != "complete":
            raise SystemExit(f"the first execution ended as {warm.text}")
        for name in names:
            rows += MEASURES[name](bench)
    width = max(len(row.what) for row in rows)
    for row in rows:
        print(f"{row.what:<{width}}  {row.value:>12}  {row.how}")
    print(f"\ntook {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
