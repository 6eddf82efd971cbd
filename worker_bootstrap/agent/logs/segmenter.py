"""Making segments of the spool, storing them, and deleting what is stored."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from worker_bootstrap.agent.logs.cursor import Cursor
from worker_bootstrap.agent.logs.segments import FORMER_LEVEL, LEVEL, Segment, SegmentBuilder, due
from worker_bootstrap.agent.logs.spool_files import Position, forget_before, shown
from worker_bootstrap.agent.logs.spool_reader import SpoolReader
from worker_bootstrap.agent.logs.types import Emit, LogPolicy, Upload, UploadError

BLOCK = 1024 * 1024


@dataclass(frozen=True)
class _Made:
    """A segment and the place behind its last line."""

    segment: Segment
    end: Position


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
        self._ahead: _Made | None = None
        self.lines = int(self._cursor.notes.get("lines", 0))
        self.last_seq = int(self._cursor.notes.get("last", 0))

    @property
    def done(self) -> Position:
        """Everything before it is in the store and reported."""
        return self._cursor.done

    def pending(self) -> int:
        """Bytes that are not yet stored."""
        return SpoolReader(self._folder, self._cursor.done).pending()

    def step(self, stop: threading.Event, *, ending: bool = False) -> bool:
        """Ship one segment if it is time. True if there may be more to do at once."""
        if self._cursor.intent is not None:
            self._reader.position, self._ahead = self._cursor.done, None
        if not self._is_due(ending=ending):
            return False
        made = self._ahead or self._build(self._cursor.intent)
        self._ahead = None
        if made is None:
            return False
        if self._cursor.intent is None:
            self._cursor.notes["level"] = LEVEL
            self._cursor.begin(made.end)
        self._since = self._last = time.monotonic()
        if not self._store(made.segment, stop):
            return False
        event = made.segment.event
        self.lines += int(event["lines"])
        self.last_seq = int(event["last"])
        self._cursor.commit(made.end, lines=self.lines, last=self.last_seq)
        forget_before(self._folder, min(self._cursor.done, self._others()))
        return ending or self._ahead is not None or self.pending() >= self._policy.segment_bytes

    def _is_due(self, *, ending: bool) -> bool:
        now = time.monotonic()
        pending = self.pending()
        if not pending:
            self._since = now
        if self._cursor.intent is not None or self._ahead is not None:
            return True
        return due(self._policy, pending, now - self._since, now - self._last, ending=ending)

    def _build(self, until: Position | None) -> _Made | None:
        """The next segment; exactly what is before `until` when an earlier try may have stored it."""
        # The same lines must give the same bytes again, also when a former agent compressed them.
        level = self._cursor.notes.get("level", FORMER_LEVEL) if until is not None else LEVEL
        builder = SegmentBuilder(self._policy.index_every, level=int(level))
        while builder.raw_bytes < self._policy.segment_bytes:
            most = min(BLOCK, self._policy.segment_bytes - builder.raw_bytes)
            block = self._reader.read(most, until)
            if not block:
                break
            builder.add(shown(block))
        return _Made(builder.finish(), self._reader.position) if builder.lines else None

    def _store(self, segment: Segment, stop: threading.Event) -> bool:
        """Both objects before the event: who hears of the segment finds them. False if `stop` came before.

        The next segment is made meanwhile: what costs time here is mostly the way to the master and the store.
        """
        objects = {f"{segment.name}.idx": segment.index, f"{segment.name}.gz": segment.data}
        keys: dict[str, str | None] = {}

        def put(name: str) -> None:
            keys[name] = self._keep_trying(name, objects[name], stop)

        threads = [threading.Thread(target=put, args=(name,), name="log-put", daemon=True) for name in objects]
        for thread in threads:
            thread.start()
        try:
            if self._reader.pending() >= self._policy.segment_bytes:
                self._ahead = self._build(None)
        finally:
            for thread in threads:
                thread.join()
        if any(keys.get(name) is None for name in objects):
            return False
        self._emit("segment", {**segment.event, "key": keys[f"{segment.name}.gz"]}, f"segment:{segment.name}")
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
