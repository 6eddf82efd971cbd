"""Writes docs/reference/reasons.md from the registry; with `--check` only says whether it is up to date."""

from __future__ import annotations

import sys

from controlplane.reasons import REASONS, Reason, Stage
from generated import keep

STAGES: dict[Stage, str] = {
    "waiting": "While it waits",
    "running": "While it runs",
    "ended": "How it ended",
    "warning": "Warnings",
    "fetch": "Why code can't be fetched",
}
BLAMED = {
    "none": "nobody",
    "user": "the execution itself, or what its project has",
    "infrastructure": "the infrastructure",
    "capacity": "capacity",
    "policy": "a rule or limit",
}


def render() -> str:
    """The page."""
    parts = [
        "# Reasons",
        "Every execution that waits, and every one that ended, has one reason: a code for programs (`reason` in the "
        "API), a sentence and a next step for people. What the infrastructure causes is tried again up to "
        "`REMORA_MAX_ATTEMPTS` times; what the execution itself or a rule causes is not. A fetch of a repository that "
        "failed has one as well, and is tried again when somebody asks.",
        "This page is generated from `controlplane/reasons.py`.",
    ]
    for stage, title in STAGES.items():
        parts.append(f"## {title}")
        parts.extend(_entry(reason) for reason in REASONS.values() if reason.stage == stage)
    return "\n\n".join(parts) + "\n"


def _entry(reason: Reason) -> str:
    anchor = reason.anchor.partition("#")[2]
    lines = [f'### <a id="{anchor}"></a>`{reason.code}`', reason.sentence]
    if reason.next_step:
        lines.append(f"What to do: {reason.next_step}")
    lines.append(f"Cause: {BLAMED[reason.blame]}.")
    return "\n\n".join(lines)


if __name__ == "__main__":
    sys.exit(keep("reasons.md", render(), "gen_reasons.py"))
