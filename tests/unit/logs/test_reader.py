"""Logs from segments in a real folder store and a live tail, over attempts."""

import gzip
import json
import tracemalloc
from io import BytesIO
from types import SimpleNamespace

import pytest
from sqlalchemy import select

from controlplane.data.stores.folder import FolderStore
from controlplane.data.stores.registry import StoreRegistry
from controlplane.dispatch.queue import QueueError
from controlplane.executions.events import log_key
from controlplane.executions.models import Execution
from controlplane.logs.models import LogSegment
from controlplane.logs.service import LogReader
from fixtures.executions import NOW


def line(seq: int, message: str = "") -> list:
    return [seq, f"2026-03-01T12:00:00.{seq:06d}", "stdout", message or f"line {seq}"]


class Log:
    """One execution's log; `tails` is what the queue holds by attempt, `away` that it does not answer."""

    def __init__(self, ground) -> None:
        self.ground = ground
        self.tails: dict[str, list] = {}
        self.away = False
        self.registry = StoreRegistry(
            lambda row: FolderStore.from_row(row, "http://remora.test", b"k" * 32, 900, lambda: NOW)
        )
        self.reader = LogReader(self.registry, SimpleNamespace(get=lambda installation=None: self))  # type: ignore[arg-type]
        with ground.begin() as session:
            self.execution = ground.add_execution(session).id
        self.attempts: list[str] = []

    def read_tail(self, worker: str, public_key: str, attempt: str) -> list:
        if self.away:
            raise QueueError("away")
        return self.tails.get(attempt, [])

    def attempt(self, **values) -> str:
        with self.ground.begin() as session:
            execution = session.get_one(Execution, self.execution)
            self.attempts.append(self.ground.add_attempt(session, execution, **values).id)
        return self.attempts[-1]

    def segment(self, attempt: str, first: int, last: int, data: bytes | None = None, **values) -> None:
        raw = b"".join(json.dumps(line(seq)).encode() + b"\n" for seq in range(first, last + 1))
        data = gzip.compress(raw) if data is None else data
        with self.ground.begin() as session:
            row = next(row for row in self.rows(session) if row.id == attempt)
            key = log_key(row, session, f"{first:020d}.gz")
            store = self.registry.find(session, self.ground.installation, "logs")[1]
            if data:
                store.put_stream(key, BytesIO(data), len(data))  # type: ignore[attr-defined]
            filled = {"size": len(data), "raw_bytes": len(raw), "sha256": "", **values}
            session.add(
                LogSegment(
                    organization_id=self.ground.organization,
                    attempt_id=attempt,
                    first=first,
                    last=last,
                    lines=last - first + 1,
                    key=key,
                    counts={},
                    first_time="",
                    last_time="",
                    created_at=NOW,
                    **filled,
                )  # fmt: skip
            )

    def rows(self, session) -> list:
        from controlplane.executions.models import Attempt

        return list(
            session.scalars(select(Attempt).where(Attempt.execution_id == self.execution).order_by(Attempt.number))
        )

    def tail(self, limit: int | None):
        with self.ground.begin() as session:
            return self.reader.tail(session, self.rows(session), limit)

    def texts(self, limit: int | None = None) -> list[str]:
        return [entry[3] for entry in self.tail(limit).lines]


@pytest.fixture
def log(ground):
    return Log(ground)


def test_segments_and_live_tail_are_one_log(log):
    attempt = log.attempt()
    log.segment(attempt, 1, 3)
    log.segment(attempt, 4, 6)
    log.tails[attempt] = [line(5), line(6), line(7), line(8)]
    assert log.texts() == [f"line {n}" for n in range(1, 9)]
    assert log.tail(3).total == 8
    assert log.texts(3) == ["line 6", "line 7", "line 8"]


def test_what_left_the_tail_before_it_was_stored_is_a_gap(log):
    attempt = log.attempt()
    log.segment(attempt, 1, 2)
    log.tails[attempt] = [line(7), line(8)]
    assert log.texts() == ["line 1", "line 2", "Gap: 4 lines (3 to 6) are not here yet.", "line 7", "line 8"]


def test_a_missing_end_is_said(log):
    attempt = log.attempt(log_lines=5, log_complete=True, state="ended")
    log.segment(attempt, 1, 3)
    assert log.texts()[-1] == "Gap: 2 lines (4 to 5) are missing."
    assert log.texts(1) == ["Gap: line 5 is missing."]


@pytest.mark.parametrize("data", [b"no gzip", b"", gzip.compress(b"x" * 1000)[:20]])
def test_a_damaged_or_lost_segment_is_a_gap(log, data):
    attempt = log.attempt(log_lines=5, log_complete=True, state="ended")
    log.segment(attempt, 1, 2)
    log.segment(attempt, 3, 4, data)
    log.segment(attempt, 5, 5)
    assert log.texts() == ["line 1", "line 2", "Gap: 2 lines (3 to 4) are missing.", "line 5"]


def test_a_segment_that_unpacks_to_more_than_it_said_is_cut(log):
    attempt = log.attempt(log_lines=2, log_complete=True, state="ended")
    bomb = gzip.compress(json.dumps(line(1)).encode() + b"\n" + b"\n" * 500 + b"[2," + b"x" * 300_000_000)
    log.segment(attempt, 1, 2, bomb, raw_bytes=1000)
    tracemalloc.start()
    assert log.texts() == ["line 1", "Gap: line 2 is missing."]
    assert tracemalloc.get_traced_memory()[1] < 20_000_000
    tracemalloc.stop()


def test_lines_of_other_numbers_than_the_segments_own_are_left_out(log):
    attempt = log.attempt(log_lines=3, log_complete=True, state="ended")
    log.segment(attempt, 1, 1, gzip.compress(json.dumps(line(2, "forged")).encode()), raw_bytes=100)
    log.segment(attempt, 2, 3)
    assert log.texts() == ["Gap: line 1 is missing.", "line 2", "line 3"]


def test_attempts_in_order_with_a_line_between(log):
    first = log.attempt(log_lines=3, state="ended", outcome="lost", reason="worker_lost")
    log.segment(first, 1, 3)
    second = log.attempt()
    log.tails[second] = [line(1), line(2)]
    between = "Attempt 1: The machine machine-1 was lost. Attempt 2 begins."
    assert log.texts() == ["line 1", "line 2", "line 3", between, "line 1", "line 2"]
    assert log.tail(None).total == 6
    for limit, expected in ((2, ["line 1", "line 2"]), (3, [between]), (4, ["line 3"]), (50, ["line 1"])):
        assert log.texts(limit)[0] == expected[0]
        assert len(log.texts(limit)) == min(limit, 6)


def test_the_queue_being_away_hides_nothing_that_is_stored(log):
    attempt = log.attempt()
    log.segment(attempt, 1, 2)
    log.tails[attempt] = [line(3)]
    log.away = True
    assert log.texts() == ["line 1", "line 2"]


def test_malformed_live_lines_are_left_out(log):
    attempt = log.attempt()
    log.tails[attempt] = ["x", [1], line(1), [2, "soon", "stdout", "x"], line(3)]
    assert log.texts() == ["line 1", "Gap: line 2 is not here yet.", "line 3"]


def test_a_log_without_attempts_is_empty(log):
    assert (log.tail(10).total, log.texts()) == (0, [])


def test_a_few_long_lines_stay_affordable(log, monkeypatch):
    monkeypatch.setattr("controlplane.logs.service.MAX_TAIL_BYTES", 1000)
    attempt = log.attempt()
    log.tails[attempt] = [line(seq, "x" * 300) for seq in range(1, 11)]
    found = log.tail(100)
    assert (found.total, len(found.lines), found.lines[-1][0]) == (10, 3, 10)


def test_reading_near_the_end_opens_only_the_segments_that_are_needed(log, monkeypatch):
    attempt = log.attempt(log_lines=3000, log_complete=True, state="ended")
    for first in range(1, 3000, 100):
        log.segment(attempt, first, first + 99)
    opened = []
    original = FolderStore.open
    monkeypatch.setattr(FolderStore, "open", lambda self, key, *a: opened.append(key) or original(self, key, *a))
    assert log.texts(150)[0] == "line 2851"
    assert len(opened) == 2
