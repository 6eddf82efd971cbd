"""The table's rows: a figure beside what it is compared with and the target that it has to keep."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Target:
    """A bound in the unit of its row."""

    bound: float
    most: bool

    def holds(self, value: float) -> bool:
        """Whether the value keeps the bound."""
        return value <= self.bound if self.most else value >= self.bound

    def text(self, unit: str) -> str:
        return f"{'≤' if self.most else '≥'} {number(self.bound)} {unit}"


def at_most(bound: float) -> Target:
    """The value has to be no larger."""
    return Target(bound, most=True)


def at_least(bound: float) -> Target:
    """The value has to be no smaller."""
    return Target(bound, most=False)


@dataclass(frozen=True)
class Row:
    """One line of the table.

    `how` says of what the value is made (medians, counts), `anchor` what it is compared with: another system's figure,
    or the same work done without us on the same machine.
    """

    what: str
    value: float
    unit: str
    how: str = ""
    anchor: str = ""
    target: Target | None = None

    @property
    def figure(self) -> str:
        return f"{number(self.value)} {self.unit}"

    @property
    def wanted(self) -> str:
        return self.target.text(self.unit) if self.target else ""

    @property
    def verdict(self) -> str:
        """OK, MISSED, or nothing where there is no target."""
        if self.target is None:
            return ""
        return "OK" if self.target.holds(self.value) else "MISSED"


HEADS = ("what", "figure", "target", "", "anchor", "how")


def cells(row: Row) -> tuple[str, ...]:
    """What stands in a row's columns."""
    return row.what, row.figure, row.wanted, row.verdict, row.anchor, row.how


def as_text(rows: list[Row]) -> str:
    """Columns for a terminal."""
    lines = [HEADS, *(cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADS))]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)


def as_markdown(rows: list[Row]) -> str:
    """A table for a page."""
    lines = [HEADS, ("---",) * len(HEADS), *(cells(row) for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def number(value: float) -> str:
    """Three significant digits; large numbers whole, with separators."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
