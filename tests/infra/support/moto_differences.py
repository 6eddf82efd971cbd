"""What moto answers otherwise than AWS, so that a second preview shows a change; nothing else is let pass."""

from __future__ import annotations

from support.events import Run, Step

# It counts a template's own tags among the tags of what is launched from it.
KNOWN = {"LaunchTemplate": {"defaultVersion", "latestVersion", "tagSpecifications"}}


def real_changes(run: Run) -> list[Step]:
    """Changes of a run that moto did not make up."""
    return [step for step in run.changes if not _is_known(step)]


def _is_known(step: Step) -> bool:
    allowed = KNOWN.get(step.type.rpartition(":")[2], set())
    return step.op == "update" and bool(step.differs) and set(step.differs) <= allowed
