"""Spool to the live tail, to segments in the store, and to metadata. Position on disk after each kept step."""

from __future__ import annotations

import gzip
import hashlib
import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import redis

from worker_bootstrap.agent.logs.spool import SpoolReader

TAIL_BATCH = 64 * 1024
TAIL_ENTRIES = 32
SEGMENT_RAW = 8 << 20
TAIL_RAW = 1_500_000
INDEX_EVERY = 1000
METADATA_EVERY = 1.0

Emit = Callable[[str, dict[str, Any]], None]
Upload = Callable[[str, bytes], None]
PushTail = Callable[[bytes, int], None]


class Shipper:
    """Runs in a thread per attempt. `upload` and `emit` do not fail: they wait."""

    def __init__(self, folder: Path, push_tail: PushTail, upload: Upload, emit: Emit, points_per_second: int) -> None:
        self._folder = folder
        self._push_tail = push_tail
        self._upload = upload
        self._emit = emit
        self._rate = points_per_second
        self._state = folder / "shipper.json"
        start = json.loads(self._state.read_text()) if self._state.exists() else {"offset": 0, "points": 0}
        self._reader = SpoolReader(folder / "spool.jsonl", start["offset"])
        self._points_after: int = start["points"]
        self._pending: list[bytes] = []
        self._pending_bytes = 0
        self._points: list[list[Any]] = []
        self._sampled = 0
        self._segment_at = self._points_at = time.monotonic()
        self.last_output = time.monotonic()
        self.lines = 0
        self.last_seq = 0
        self._finished = threading.Event()

    def finish(self) -> None:
        """Nothing more will be written: ship the rest and end."""
        self._finished.set()

    def run(self) -> None:
        """Until everything is shipped after `finish`."""
        while True:
            ending = self._finished.is_set()
            block = self._reader.read(TAIL_BATCH)
            if block:
                self._take(block)
            self._flush_points(force=ending and not block)
            if self._segment_due() or (ending and not block):
                self._flush_segment()
            if ending and not block:
                return
            if not block:
                self._finished.wait(0.05)

    def _take(self, block: bytes) -> None:
        self._tail(block)
        lines = block.splitlines(keepends=True)
        self._pending.extend(lines)
        self._pending_bytes += len(block)
        for raw in lines:
            if b'"stdout","{' in raw:
                self._metadata(json.loads(raw))
        last = json.loads(lines[-1])
        self.last_seq = last[0]
        self.lines = last[0]
        if b'"stdout"' in block or b'"stderr"' in block:
            self.last_output = time.monotonic()

    def _tail(self, block: bytes) -> None:
        try:
            self._push_tail(block, TAIL_ENTRIES)
        except redis.RedisError:
            return  # the segments hold these lines; the tail goes on when the queue is back

    def _metadata(self, line: list[Any]) -> None:
        if line[0] <= self._points_after:
            return
        try:
            point = json.loads(line[3])
        except ValueError:
            return
        if not isinstance(point, dict):
            return
        if len(self._points) < self._rate * METADATA_EVERY:
            self._points.append([line[1], point])
        else:
            self._points[-1] = [line[1], point]
            self._sampled += 1
        self._points_last = line[0]

    def _flush_points(self, *, force: bool) -> None:
        now = time.monotonic()
        if not self._points or (now - self._points_at < METADATA_EVERY and not force):
            return
        self._emit("metadata", {"points": self._points, "sampled": self._sampled})
        self._points, self._sampled, self._points_at = [], 0, now
        self._points_after = self._points_last
        self._save()

    def _segment_due(self) -> bool:
        age = time.monotonic() - self._segment_at
        return (
            self._pending_bytes >= SEGMENT_RAW
            or (self._pending_bytes > TAIL_RAW and age >= 2)
            or (self._pending_bytes > 256_000 and age >= 30)
        )

    def _flush_segment(self) -> None:
        self._segment_at = time.monotonic()
        if not self._pending:
            return
        raw = b"".join(self._pending)
        first, last = json.loads(self._pending[0]), json.loads(self._pending[-1])
        data = gzip.compress(raw, 5, mtime=0)
        index = self._index(raw, first, last, len(data), hashlib.sha256(data).hexdigest())
        name = f"{first[0]:020d}"
        self._upload(f"{name}.gz", data)
        self._upload(f"{name}.idx", json.dumps(index).encode())
        self._emit("segment", {k: v for k, v in index.items() if k != "offsets"} | {"key": f"{name}.gz"})
        self._pending, self._pending_bytes = [], 0
        self._save()
        (self._folder / "shipped").write_text(str(self._reader.offset))

    def _index(self, raw: bytes, first: list[Any], last: list[Any], size: int, digest: str) -> dict[str, Any]:
        counts = {"stdout": 0, "stderr": 0, "status": 0}
        offsets, position = [], 0
        for number, line in enumerate(self._pending):
            if number % INDEX_EVERY == 0:
                offsets.append([first[0] + number, position])
            position += len(line)
            for stream in counts:
                if f'"{stream}"'.encode() in line[:64]:
                    counts[stream] += 1
                    break
        return {
            "first": first[0],
            "last": last[0],
            "lines": len(self._pending),
            "raw_bytes": len(raw),
            "size": size,
            "sha256": digest,
            "counts": counts,
            "first_time": first[1],
            "last_time": last[1],
            "offsets": offsets,
        }

    def _save(self) -> None:
        """Lines from here on are read again after a restart; a segment is named by its first line."""
        offset = self._reader.offset - self._pending_bytes
        temporary = self._state.with_suffix(".new")
        temporary.write_text(json.dumps({"offset": offset, "points": self._points_after}))
        temporary.replace(self._state)
