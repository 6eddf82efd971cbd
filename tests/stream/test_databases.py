"""Following a log on each database."""

from __future__ import annotations

import pytest

from stream.rig import Live, numbered

pytestmark = pytest.mark.needs("redis")


def test_stored_lines_then_those_of_the_tail_then_those_that_come(live: Live) -> None:
    live.grant()
    live.store(1, 30)
    live.say(20, 40)
    follower = live.follow()
    follower.until_message("line 40")
    live.say(41, 50)
    follower.until_message("line 50")
    assert follower.messages() == numbered(1, 50)
    live.store(31, 50)
    live.end(50)
    follower.until_end()
    follower.check_whole()
    assert follower.states() == ["started", "complete"]


def test_a_new_attempt_follows_the_one_that_was_lost(live: Live) -> None:
    live.grant()
    live.say(1, 3)
    follower = live.follow()
    follower.until_message("line 3")
    live.end(0, "queued", complete=False)
    live.grant()
    live.say(1, 2)
    follower.until(lambda: "line 2" in follower.messages(2), "the second attempt")
    live.store(1, 2)
    live.end(2)
    follower.until_end()
    assert follower.messages(1) == numbered(1, 3)
    assert follower.messages(2) == numbered(1, 2)
    assert ("attempt", '{"attempt":2}') in follower.events
    assert follower.last == "2:2"
