"""Nothing is left out in silence: a test whose part is missing is listed as NOT RUN, any other skip is a failure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator
from typing import Any

import pytest

from plugin.parts import PROBES, probe

PREFIX = "NOT RUN: "
FORBIDDEN = "tests are not skipped: mark them with @pytest.mark.needs(PART), so that they are listed as NOT RUN"


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Leave out a test whose part is missing, with the reason."""
    for marker in item.iter_markers("needs"):
        for part in marker.args:
            if part not in PROBES:
                pytest.fail(f"needs({part!r}): no such part; one of {', '.join(sorted(PROBES))}", pytrace=False)
            if missing := probe(part):
                pytest.skip(f"{PREFIX}{missing}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    """Turn other skips, and expected failures, into failures."""
    report = yield
    return _judged(report)


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Generator[None, Any, Any]:
    """The same for whole files."""
    report = yield
    return _judged(report)


def _judged(report: Any) -> Any:
    is_expected_failure = hasattr(report, "wasxfail")
    if (report.skipped or is_expected_failure) and reason_of(report) is None:
        report.outcome = "failed"
        report.longrepr = f"{getattr(report, 'wasxfail', '') or _text(report)}\n{FORBIDDEN}"
        if is_expected_failure:
            del report.wasxfail
    return report


def reason_of(report: Any) -> str | None:
    """The reason of a NOT RUN, or None."""
    _, found, reason = _text(report).partition(PREFIX)
    return reason if found else None


def _text(report: Any) -> str:
    return str(report.longrepr[2]) if isinstance(report.longrepr, tuple) else str(report.longrepr)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """List what was not run, at the end."""
    counts: Counter[tuple[str, str]] = Counter()
    for report in terminalreporter.stats.get("skipped", []):
        reason = reason_of(report)
        if reason is not None:
            counts[(report.nodeid.partition("::")[0], reason)] += 1
    if not counts:
        return
    terminalreporter.section("NOT RUN on this machine")
    for (file, reason), count in sorted(counts.items()):
        terminalreporter.line(f"NOT RUN  {file}: {count} {'test' if count == 1 else 'tests'}: {reason}")
