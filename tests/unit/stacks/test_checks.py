"""Checks before an installation: verdicts, remedies, and a probe that can't run stops nobody."""

from __future__ import annotations

from pathlib import Path

import pytest

from stacks.wizard.aws_checks import family
from stacks.wizard.checks import Check, Outcome, ProbeError, failed, passed, refused, run_checks, table, warned
from stacks.wizard.host_checks import HOST_CHECKS, Host


def check(outcome: Outcome | ProbeError) -> Check[None]:
    def probe(world: None) -> Outcome:
        if isinstance(outcome, ProbeError):
            raise outcome
        return outcome

    return Check("a.check", "the thing", probe, "Mend it.")


@pytest.mark.parametrize(
    ("outcome", "status", "fix", "stops"),
    [
        (passed("fine"), "pass", "", False),
        (warned("odd"), "warn", "Mend it.", False),
        (failed("broken"), "fail", "Mend it.", True),
        (ProbeError("nobody answered"), "unknown", "", False),
    ],
)
def test_a_check_gives_verdict_evidence_and_remedy(
    outcome: Outcome | ProbeError, status: str, fix: str, stops: bool
) -> None:
    results = run_checks([check(outcome)], None)
    assert [(one.id, one.status, one.fix) for one in results] == [("a.check", status, fix)]
    assert results[0].evidence in ("fine", "odd", "broken", "nobody answered")
    assert refused(results) is stops


def test_people_see_the_remedy_below_what_failed() -> None:
    shown = table(run_checks([check(passed("fine")), check(failed("broken"))], None))
    assert shown.splitlines() == [
        "  ok       the thing: fine",
        "  FAILED   the thing: broken",
        "           Mend it.",
    ]


def test_this_machine_is_looked_at(tmp_path: Path) -> None:
    found = {one.id: one for one in run_checks(HOST_CHECKS, Host(tmp_path / "new", "ssh", "http://127.0.0.1:1"))}
    assert found["host.python"].status == "pass"
    assert "GB free" in found["host.disk"].evidence
    assert found["host.dashboard"].status == "warn" and "does not answer from here" in found["host.dashboard"].evidence


def test_a_missing_command_line_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    found = {one.id: one for one in run_checks(HOST_CHECKS, Host(tmp_path, "ssh", ""))}
    assert found["host.pulumi"].status == "fail" and "pulumi.com/docs/install" in found["host.pulumi"].fix


def test_an_old_command_line_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = tmp_path / "pulumi"
    old.write_text("#!/bin/sh\necho v2.25.2\n")
    old.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    found = {one.id: one for one in run_checks(HOST_CHECKS, Host(tmp_path, "ssh", ""))}
    assert (found["host.pulumi"].status, found["host.pulumi"].evidence) == ("fail", "v2.25.2")


def test_check_ids_are_unique() -> None:
    ids = [one.id for one in HOST_CHECKS]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize(
    ("machine", "expected"),
    [
        ("m6i.large", ""),
        ("g4dn.xlarge", "g"),
        ("g6.xlarge", "g"),
        ("p4d.24xlarge", "p"),
        ("vt1.3xlarge", "vt"),
        ("t3.small", ""),
    ],
)
def test_quotas_are_by_family(machine: str, expected: str) -> None:
    assert family(machine) == expected
