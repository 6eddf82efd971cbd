"""Every waiting execution says why it waits."""

from __future__ import annotations

from dataclasses import replace

import pytest

from controlplane.dispatch.grants import Waiting
from controlplane.dispatch.waiting import GroupView, Queued, changes, why
from controlplane.reasons import REASONS, sentence

GROUP = GroupView("This machine", True, True, {"active": 1}, 2, 0, 0)


@pytest.mark.parametrize(
    ("group", "says"),
    [
        (GROUP, "All 2 slots of This machine are busy; number 3 in the queue."),
        (replace(GROUP, free=1), "Number 3 in the queue of This machine."),
        (replace(GROUP, enabled=False), "This machine is switched off."),
        (replace(GROUP, readable=False), "The workers' queue does not answer."),
        (replace(GROUP, states={"draining": 1}), "Every machine of This machine is leaving."),
        (replace(GROUP, states={"silent": 1}, silence=120), "No machine of This machine has been heard of for 120 s."),
        (replace(GROUP, states={}), "No machine has joined This machine."),
        (None, "Its environment was removed."),
    ],
)
def test_sentences(group: GroupView | None, says: str) -> None:
    code, arguments = why(group, 3)
    assert REASONS[code].stage == "waiting"
    assert sentence(code, arguments) == says


def test_only_rows_that_say_something_else_are_written() -> None:
    items = [Waiting(f"e{i}", "p", "g", 0, str(i)) for i in range(3)]
    rows = [Queued(item, "waiting_for_grant", {}, None) for item in items]
    found = changes(rows, {"g": GROUP}, {}, {})
    assert [found[f"e{i}"][1]["position"] for i in range(3)] == [1, 2, 3]
    again = [Queued(item, *found[item.execution], None) for item in items]
    assert changes(again, {"g": GROUP}, {}, {}) == {}


def test_what_a_failed_attempt_said_is_left_alone() -> None:
    row = Queued(Waiting("e", "p", "g", 0, "1"), "retrying", {"number": 1, "why": "x"}, None)
    assert changes([row], {"g": GROUP}, {}, {}) == {}
