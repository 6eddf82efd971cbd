"""docs/reference/benchmarks.md: the last whole run, and what people wrote about what it misses."""

from __future__ import annotations

from pathlib import Path

from benchmarks.table import Row, as_markdown

PAGE = Path(__file__).resolve().parents[1] / "docs" / "reference" / "benchmarks.md"
WRITTEN = "## What is missed and why"
HEAD = """\
# Measured figures

`make bench` starts a control plane of its own with one worker on this machine, measures it and prints this table;
`python -m benchmarks NAME` measures one part, `--write` keeps a whole run here. Every figure stands beside the target
that it has to keep and beside what it is compared with. The first and the last rows are the machine's own noise: a
difference smaller than that means nothing.

Measured on: {machine}.

{table}

"""


def write(rows: list[Row], machine: str) -> None:
    """Put the table in place of the former one; what was written by hand below it stays."""
    before = PAGE.read_text() if PAGE.exists() else ""
    _, heading, said = before.partition(WRITTEN)
    PAGE.write_text(HEAD.format(machine=machine, table=as_markdown(rows)) + (heading or WRITTEN) + (said or "\n"))
