"""What a viewer of a live log sees, whatever happens between."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest

from controlplane.db.ids import uuid7
from fixtures.executions import SIGNING_KEY
from stream.rig import Live, line, numbered
from worker_bootstrap.protocol import codec, crypto

# What the two databases are asked is the same; tests/stream/test_databases.py asks both.
pytestmark = [pytest.mark.needs("redis"), pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)]


def test_who_comes_without_a_place_gets_the_newest_lines(make_live: Callable[..., Live]) -> None:
    live = make_live(stream_backlog_lines=10)
    live.grant()
    live.store(1, 1000)
    live.say(990, 1003)
    follower = live.follow()
    follower.until_message("line 1003")
    assert follower.messages() == numbered(994, 1003)


@pytest.mark.parametrize("last", [0, 1, 29, 30, 31, 59, 60, 61, 79, 80])
def test_who_comes_again_goes_on_after_its_last_line(live: Live, last: int) -> None:
    live.grant()
    live.store(1, 30)
    live.store(31, 60)
    live.say(50, 70)
    live.say(71, 80)
    follower = live.follow(f"1:{last}")
    follower.until(lambda: follower.events, "a first event")
    live.say(81, 90)
    follower.until_message("line 90")
    assert follower.messages() == numbered(last + 1, 90)


@pytest.mark.parametrize("last", ["", "1", "x:y", "7:3", "1:-5", "0:0", "1:" + "9" * 40, "1:5\xff"])
def test_a_place_that_is_none_is_as_good_as_no_place(live: Live, last: str) -> None:
    live.grant()
    live.say(1, 5)
    live.end(5)
    live.store(1, 5)
    headers = {"Authorization": f"Ticket {live.ticket()}", "Last-Event-ID": last.encode("latin-1")}
    text = live.get(**headers).text  # type: ignore[arg-type]
    assert '"line 1"' in text and '"line 5"' in text and "event: end\nid: 1:5\n" in text


def test_what_left_the_tail_comes_from_the_store_without_a_gap(live: Live) -> None:
    live.grant()
    live.say(1, 10)
    follower = live.follow()
    follower.until_message("line 10")
    live.say(31, 40, keep=31)
    time.sleep(0.3)
    assert follower.messages() == numbered(1, 10), "later lines wait for those before them"
    live.store(1, 20)
    follower.until_message("line 20")
    live.store(21, 30)
    follower.until_message("line 40")
    live.say(41, 45)
    follower.until_message("line 45")
    follower.check_whole()


def test_lines_that_never_come_are_a_gap(live: Live) -> None:
    live.grant()
    live.say(1, 3)
    follower = live.follow()
    follower.until_message("line 3")
    live.say(10, 12, keep=10)
    follower.until_message("line 12")
    assert [(gap["first"], gap["last"]) for gap in follower.gaps] == [(4, 9)]
    assert follower.messages() == numbered(1, 3) + numbered(10, 12)


def test_a_lost_segment_is_a_gap_and_the_rest_is_shown(live: Live) -> None:
    live.grant()
    live.store(1, 10)
    live.store(11, 20, lost=True)
    live.store(21, 30)
    live.end(35)
    follower = live.follow("1:0")
    follower.until_end()
    assert follower.messages() == numbered(1, 10) + numbered(21, 30)
    assert [(gap["first"], gap["last"]) for gap in follower.gaps] == [(11, 20), (31, 35)]
    assert follower.last == "1:35"


def test_redis_comes_back_empty(live: Live) -> None:
    live.grant()
    live.say(1, 10)
    follower = live.follow()
    follower.until_message("line 10")
    live.redis.stop()
    late = live.follow()
    live.store(1, 5)
    late.until_message("line 5")
    live.redis.start()
    # Lines 11 to 15 were in the tail when it was lost; the agent goes on after them.
    live.say(16, 20)
    live.store(6, 15)
    for one in (follower, late):
        one.until_message("line 20")
        one.check_whole()
        assert one.messages() == numbered(1, 20)
        assert one.connections == 1, "viewers stay connected"


def test_lines_that_only_the_store_has_come_while_nothing_is_printed(live: Live) -> None:
    """The tail lost its last lines, and no later one shows that they are missing."""
    live.grant()
    live.say(1, 5)
    follower = live.follow()
    follower.until_message("line 5")
    live.store(1, 9)
    follower.until_message("line 9")
    follower.check_whole()


def test_lines_that_another_signed_are_not_shown(live: Live) -> None:
    live.grant()
    live.say(1, 2)
    follower = live.follow()
    follower.until_message("line 2")
    live.say(3, 3, "forged", crypto.SigningKey.generate())
    live.say(3, 4, keep=3)
    tail = f"tail:{live.ground.worker}:{live.attempt}"
    live.redis.admin().xadd(tail, {"nonsense": "1"}, id="900-0")
    live.redis.admin().xadd(tail, codec.sign_entry(SIGNING_KEY, b"[" * 100_000), id="901-0")  # type: ignore[arg-type]
    live.store(1, 4)
    follower.until_message("line 4")
    live.redis.admin().xadd(tail, codec.sign_entry(SIGNING_KEY, codec.encode_lines([line(5)])), id="902-0")  # type: ignore[arg-type]
    follower.until_message("line 5")
    assert follower.messages() == numbered(1, 5)


def test_who_comes_again_in_an_older_attempt_sees_the_rest_of_it_first(live: Live) -> None:
    live.grant()
    live.store(1, 10)
    live.end(10, "queued")
    live.grant()
    live.store(1, 5)
    live.end(5)
    follower = live.follow("1:7")
    follower.until_end()
    assert follower.lines == [[1, 8, "line 8"], [1, 9, "line 9"], [1, 10, "line 10"]] + [
        [2, seq, f"line {seq}"] for seq in range(1, 6)
    ]
    fresh = live.follow()
    fresh.until_end()
    assert fresh.messages(1) == [] and fresh.messages(2) == numbered(1, 5)


def test_who_waits_from_before_the_first_attempt_misses_nothing(make_live: Callable[..., Live]) -> None:
    live = make_live(stream_backlog_lines=2)
    live.set_state("queued")
    follower = live.follow()
    follower.until(lambda: follower.states() == ["queued"], "the state")
    live.grant()
    live.set_state("started")
    live.say(1, 50)
    follower.until_message("line 50")
    assert follower.messages() == numbered(1, 50)
    # Lines come by the tail and states by looks at the database: either may be first.
    follower.until(lambda: follower.states() == ["queued", "started"], "the state")


@pytest.mark.parametrize("state", ["stopped", "crashed"])
def test_an_execution_that_never_ran_ends_at_once(live: Live, state: str) -> None:
    live.set_state(state)
    follower = live.follow()
    follower.until_end()
    assert follower.messages() == [] and follower.states() == [state]


def test_a_lost_attempt_ends_with_what_there_is(live: Live) -> None:
    live.grant()
    live.say(1, 4)
    follower = live.follow()
    follower.until_message("line 4")
    live.store(1, 6)
    live.end(0, "crashed", complete=False)
    follower.until_end()
    assert follower.messages() == numbered(1, 6)


def test_a_comment_comes_when_nothing_is_printed(live: Live) -> None:
    live.grant()
    with closing(socket.create_connection(("127.0.0.1", live.settings.stream_port), timeout=10)) as peer:
        peer.sendall(request(live))
        text = b""
        while text.count(b": still here") < 2:
            text += peer.recv(4096)


def test_who_stays_long_comes_again_with_a_new_ticket(make_live: Callable[..., Live]) -> None:
    live = make_live(stream_longest=0.3)
    live.grant()
    live.say(1, 2)
    follower = live.follow()
    follower.until(lambda: follower.connections >= 3, "three connections")
    live.say(3, 4)
    follower.until_message("line 4")
    follower.check_whole()
    assert ("again", "{}") in follower.events


def test_one_who_is_too_slow_is_closed_and_misses_nothing(make_live: Callable[..., Live]) -> None:
    live = make_live(stream_buffer_bytes=200_000, stream_stall_timeout=60.0)
    live.grant()
    live.say(1, 1)
    text, last = "x" * 1000, 0
    fast = live.follow("1:0")
    with closing(socket.create_connection(("127.0.0.1", live.settings.stream_port), timeout=20)) as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        slow.sendall(request(live, "1:0"))
        for first in range(2, 10_000, 100):
            last = first + 99
            live.say(first, last, text)
            fast.until_last(last)
        received = b""
        while piece := slow.recv(1 << 16):
            received += piece
    assert b"event: again" in received
    ids = [row for row in received.split(b"\n") if row.startswith(b"id: ")]
    place = ids[-1].removeprefix(b"id: ").decode()
    assert int(place.partition(":")[2]) < last - 1000
    live.store(1, last)
    late = live.follow(place)
    late.until_last(last)
    late.check_whole()
    assert late.lines[0][1] == int(place.partition(":")[2]) + 1
    fast.check_whole()


def test_one_who_takes_nothing_is_cut_off_and_gives_its_place_back(make_live: Callable[..., Live]) -> None:
    live = make_live(stream_stall_timeout=2.0, stream_viewers=1)
    live.grant()
    for first in range(1, 100_000, 10_000):
        live.store(first, first + 9_999)
    with closing(socket.create_connection(("127.0.0.1", live.settings.stream_port), timeout=20)) as stalled:
        stalled.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        stalled.sendall(request(live, "1:0"))
        # It has the place: whoever comes now is refused until it is cut off.
        assert stalled.recv(64).startswith(b"HTTP/1.1 200")
        follower = live.follow("1:0")
        follower.until_last(100_000)
        follower.check_whole()
        assert follower.refused > 0


def test_a_long_log_is_followed_from_its_first_line(live: Live) -> None:
    live.grant()
    for first in range(1, 40_000, 5_000):
        live.store(first, first + 4_999)
    live.say(39_001, 40_100)
    follower = live.follow("1:0")
    follower.until_last(40_100)
    follower.check_whole()
    assert len(follower.lines) == 40_100


def test_a_flood_reaches_everybody_whole(make_live: Callable[..., Live]) -> None:
    """Faster than anybody takes it: the tail is overrun again and again, the store has it all in the end."""
    live = make_live(stream_buffer_bytes=100_000)
    live.grant()
    followers = [live.follow("1:0") for _ in range(5)]
    for first in range(1, 20_000, 1000):
        live.say(first, first + 999, keep=first)
        live.store(first, first + 999)
    live.end(20_000)
    for follower in followers:
        follower.until_end()
        follower.check_whole()
        assert len(follower.lines) == 20_000


def request(live: Live, last: str = "") -> bytes:
    lines = [f"GET /stream/executions/{live.execution}/log HTTP/1.1", "Host: 127.0.0.1"]
    lines += [f"Authorization: Ticket {live.ticket()}"] + ([f"Last-Event-ID: {last}"] if last else [])
    return "\r\n".join([*lines, "", ""]).encode()


def refused(answer: Any, status: int) -> None:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.security("N02")
def test_without_a_good_ticket_nothing_is_shown(make_live: Callable[..., Live]) -> None:
    live = make_live(stream_ticket_ttl=0)
    live.grant()
    refused(live.get(), 401)
    refused(live.get(Authorization=f"Ticket {live.ticket()}"), 401)
    live.tickets._ttl = 60
    good = live.ticket()
    for header in (f"Token {good}", good, "Ticket", f"Ticket {good}x", f"Ticket {good[:-1]}", f"Ticket x.{good}"):
        refused(live.get(Authorization=header), 401)
    other = live.tickets.make(uuid7(), live.ground.organization)
    refused(live.get(Authorization=f"Ticket {other}"), 401)
    refused(live.get(f"/stream/executions/{live.execution}/log?ticket={good}"), 401)
    strange = live.tickets.make(live.execution, uuid7())
    refused(live.get(Authorization=f"Ticket {strange}"), 404)


@pytest.mark.security("N03")
def test_other_names_and_addresses_are_refused(live: Live) -> None:
    ticket = {"Authorization": f"Ticket {live.ticket()}"}
    refused(live.get(Host="evil.test", **ticket), 400)
    refused(live.get("/stream/executions/", **ticket), 404)
    assert live.get("/healthz", Host="10.0.0.1").json() == {"status": "ok"}


def test_more_viewers_than_there_are_places(make_live: Callable[..., Live]) -> None:
    live = make_live(stream_viewers=2)
    live.grant()
    live.say(1, 1)
    for _ in range(2):
        live.follow().until_message("line 1")
    answer = live.get(Authorization=f"Ticket {live.ticket()}")
    refused(answer, 503)
    assert answer.headers["retry-after"]
