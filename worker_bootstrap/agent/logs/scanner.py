"""Looking through every line once: metadata points, gaps, and when there was output last."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from worker_bootstrap.agent.logs.cursor import Cursor
from worker_bootstrap.agent.logs.points import batches, candidates, sample, second_of
from worker_bootstrap.agent.logs.spool_files import GAP, Position, first_seq, line_stream, line_time
from worker_bootstrap.agent.logs.spool_reader import SpoolReader
from worker_bootstrap.agent.logs.types import Emit, LogPolicy

BLOCK = 1024 * 1024
CLOCK_AHEAD = timedelta(seconds=5)


class Scanner:
    """One reader of the spool, never held up by queue or store."""

    def __init__(self, folder: Path, emit: Emit, policy: LogPolicy, now: Callable[[], datetime]) -> None:
        self._cursor = Cursor.load(folder / "scan.json")
        self._reader = SpoolReader(folder, self._cursor.done)
        self._emit = emit
        self._policy = policy
        self._now = now

    @property
    def done(self) -> Position:
        """Everything before it was looked through."""
        return self._cursor.done

    def last_output(self) -> datetime | None:
        """Time (UTC) of the last line of stdout or stderr; None before the first."""
        text = self._cursor.notes.get("output", "")
        return datetime.fromisoformat(text).replace(tzinfo=UTC) if text else None

    def step(self, *, ending: bool = False) -> bool:
        """Look through what is new. True if there is more."""
        resumed = self._cursor.intent is not None
        if resumed:
            self._reader.position = self._cursor.done
        start = self._reader.position
        block = self._reader.read(BLOCK, self._cursor.intent)
        if not block:
            return False
        if not resumed:
            block = self._whole_seconds(block, start, ending=ending)
            if not block:
                return False
            self._cursor.begin(self._reader.position)
        self._report(block)
        self._cursor.commit(self._reader.position, output=_last_output(block) or self._cursor.notes.get("output", ""))
        return True

    def _whole_seconds(self, block: bytes, start: Position, *, ending: bool) -> bytes:
        """Leave a second's points for later while the second goes on: it is sampled as a whole."""
        if ending:
            return block
        now = self._now()
        # Lines from further ahead come from a clock that was set back: no reason to wait for them.
        current, latest = (f"{moment:%Y-%m-%dT%H:%M:%S}" for moment in (now, now + CLOCK_AHEAD))
        for found in candidates(block):
            if current <= second_of(found.time) <= latest:
                block = block[: found.start]
                break
        self._reader.position = Position(self._reader.position.file, self._offset_after(start, block))
        return block

    def _offset_after(self, start: Position, block: bytes) -> int:
        """A read may have gone on to a next file: its beginning is 0 there."""
        begin = start.offset if start.file == self._reader.position.file else 0
        return begin + len(block)

    def _report(self, block: bytes) -> None:
        number = first_seq(block)
        if b'"gap"' in block:
            self._report_gaps(block)
        seconds: dict[str, list[tuple[str, str]]] = {}
        for found in candidates(block):
            seconds.setdefault(second_of(found.time), []).append((found.time, json.loads(found.line)[3]))
        points, sampled = [], 0
        for second in sorted(seconds):
            kept, left_out = sample(seconds[second], self._policy.metadata_per_second)
            points += kept
            sampled += left_out
        for index, body in enumerate(batches(points, sampled)):
            self._emit("metadata", body, f"metadata:{number}:{index}")

    def _report_gaps(self, block: bytes) -> None:
        for line in block.splitlines():
            if line_stream(line) == GAP:
                seq, _, _, reason = json.loads(line)
                self._emit("gap", {"first": seq, "last": seq, "reason": reason}, f"gap:{seq}")


def _last_output(block: bytes) -> str:
    """Time of the last line that the container wrote, empty if none of these is one."""
    end = len(block)
    while end > 0:
        start = block.rfind(b"\n", 0, end - 1) + 1
        line = block[start:end]
        if line_stream(line) in ("stdout", "stderr"):
            return line_time(line)
        end = start
    return ""
