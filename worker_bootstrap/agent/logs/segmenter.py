"""Making segments of the spool, storing them, and deleting what is stored."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

from worker_bootstrap.agent.logs.cursor import Cursor
from worker_bootstrap.agent.logs.segments import Segment, SegmentBuilder, due
from worker_bootstrap.agent.logs.spool_files import Position, forget_before, shown
from worker_bootstrap.agent.logs.spool_reader import SpoolReader
from worker_bootstrap.agent.logs.types import Emit, LogPolicy, Upload, UploadError

BLOCK = 1024 * 1024


class Segmenter:
    """One reader of the spool. `others` says up to where the other reader that must see every line has come."""

    def __init__(
        self, folder: Path, upload: Upload, emit: Emit, policy: LogPolicy, others: Callable[[], Position]
    ) -> None:
        self._folder = folder
        self._cursor = Cursor.load(folder / "segments.json", durable=True)
        self._reader = SpoolReader(folder, self._cursor.done)
        self._upload = upload
        self._emit = emit
        self._policy = policy
        self._others = others
        self._since = self._last = time.monotonic()
        self.lines = int(self._cursor.notes.get("lines", 0))
        self.last_seq = int(self._cursor.notes.get("last", 0))

    @property
    def done(self) -> Position:
        """Everything before it is in the store and reported."""
        return self._cursor.done

    def pending(self) -> int:
        """Bytes that are not yet stored."""
        return self._reader.pending()

    def step(self, stop: threading.Event, *, ending: bool = False) -> bool:
        """Ship one segment if it is time. True if there may be more to do at once."""
        if self._cursor.intent is not None:
            self._reader.position = self._cursor.done
        now = time.monotonic()
        pending = self._reader.pending()
        if not pending:
            self._since = now
        if self._cursor.intent is None and not due(
            self._policy, pending, now - self._since, now - self._last, ending=ending
        ):
            return False
        segment = self._build()
        if segment is None:
            return False
        self._since = self._last = time.monotonic()
        if not self._store(segment, stop):
            return False
        self.lines += int(segment.event["lines"])
        self.last_seq = int(segment.event["last"])
        self._cursor.commit(self._reader.position, lines=self.lines, last=self.last_seq)
        forget_before(self._folder, min(self._cursor.done, self._others()))
        return ending or self._reader.pending() >= self._policy.segment_bytes

    def _build(self) -> Segment | None:
        builder = SegmentBuilder(self._policy.index_every)
        while builder.raw_bytes < self._policy.segment_bytes:
            most = min(BLOCK, self._policy.segment_bytes - builder.raw_bytes)
            block = self._reader.read(most, self._cursor.intent)
            if not block:
                break
            builder.add(shown(block))
        if not builder.lines:
            return None
        if self._cursor.intent is None:
            self._cursor.begin(self._reader.position)
        return builder.finish()

    def _store(self, segment: Segment, stop: threading.Event) -> bool:
        """Index first: who hears of the segment finds both. False if `stop` came before it was stored."""
        if self._keep_trying(f"{segment.name}.idx", segment.index, stop) is None:
            return False
        key = self._keep_trying(f"{segment.name}.gz", segment.data, stop)
        if key is None:
            return False
        self._emit("segment", {**segment.event, "key": key}, f"segment:{segment.name}")
        return True

    def _keep_trying(self, name: str, data: bytes, stop: threading.Event) -> str | None:
        pause = self._policy.retry_first
        while not stop.is_set():
            try:
                return self._upload(name, data)
            except (UploadError, OSError):
                stop.wait(pause)
                pause = min(self._policy.retry_most, pause * 2)
        return None
