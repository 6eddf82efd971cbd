"""Pushing the newest lines to the queue, where viewers read them a moment later."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import redis

from worker_bootstrap.agent.logs.cursor import Cursor
from worker_bootstrap.agent.logs.spool_files import Position, first_seq, last_seq, shown
from worker_bootstrap.agent.logs.spool_reader import SpoolReader
from worker_bootstrap.agent.logs.types import LogPolicy, Tail, TailAwayError
from worker_bootstrap.protocol import codec, crypto

ENTRY_OVERHEAD = 256


class RedisTail:
    """The stream `key` on the queue. An entry's id is its last line's number, so a repeated push is refused there."""

    def __init__(self, client: Callable[[], redis.Redis], key: str, signing: crypto.SigningKey) -> None:
        self._client = client
        self._key = key
        self._signing = signing

    def push(self, last_seq: int, raw: bytes, keep_from: int) -> None:
        """See Tail."""
        entry: Any = codec.sign_entry(self._signing, raw)
        try:
            self._client().xadd(self._key, entry, id=f"{last_seq}-0", minid=f"{keep_from}-0", approximate=False)
        except redis.ResponseError as error:
            if "equal or smaller" not in str(error):
                raise TailAwayError(f"the queue refuses lines: {error}") from error
        except (redis.RedisError, OSError) as error:
            raise TailAwayError(f"the queue does not answer: {error}") from error


class TailWindow:
    """Which entries still fit into the tail. Pure."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._entries: deque[tuple[int, int]] = deque()
        self._bytes = 0

    def add(self, first: int, size: int) -> int:
        """Count an entry; returns the first line of the oldest entry that may stay."""
        self._entries.append((first, size + ENTRY_OVERHEAD))
        self._bytes += size + ENTRY_OVERHEAD
        while self._bytes > self._limit and len(self._entries) > 1:
            self._bytes -= self._entries.popleft()[1]
        return self._entries[0][0]


class TailPusher:
    """One reader of the spool. `shipped` says up to where the store has the log: older lines need no tail."""

    def __init__(self, folder: Path, tail: Tail, policy: LogPolicy, shipped: Callable[[], Position]) -> None:
        self._folder = folder
        self._cursor = Cursor.load(folder / "tail.json")
        self._reader = SpoolReader(folder, self._cursor.done)
        self._tail = tail
        self._policy = policy
        self._shipped = shipped
        self._window = TailWindow(policy.tail_bytes)
        self._pause = policy.retry_first
        self._resume()

    def run(self, stop: threading.Event, ending: threading.Event, pushed: threading.Event) -> None:
        """Push until `stop`, or until all is pushed after `ending`; `pushed` says so."""
        while not stop.is_set():
            began, last_round = time.monotonic(), ending.is_set()
            if self.step(stop):
                continue
            if last_round and not self._reader.pending():
                pushed.set()
                return
            stop.wait(max(0.0, self._policy.tail_interval - (time.monotonic() - began)))

    def step(self, stop: threading.Event) -> bool:
        """Push one batch. True if there was a full one: the next may follow at once."""
        if self._cursor.intent is not None:
            self._reader.position = self._cursor.done
        elif self._reader.pending() > self._policy.tail_bytes:
            # Far behind: what the store has already would be pushed out of the tail at once.
            self._reader.position = max(self._reader.position, self._shipped())
        start = self._reader.position
        raw = self._reader.read(self._policy.tail_batch_bytes, self._cursor.intent)
        if not raw:
            self._forget_intent()
            return False
        end = self._reader.position
        if self._cursor.intent is None:
            self._cursor.begin(end, start)
        keep_from = self._window.add(first_seq(raw), len(raw))
        if not self._push(last_seq(raw), shown(raw), keep_from, stop):
            return False
        self._cursor.commit(end)
        return len(raw) >= self._policy.tail_batch_bytes // 2

    def _push(self, seq: int, raw: bytes, keep_from: int, stop: threading.Event) -> bool:
        while True:
            try:
                self._tail.push(seq, raw, keep_from)
            except TailAwayError:
                if stop.wait(self._pause):
                    return False
                self._pause = min(self._policy.retry_most, self._pause * 2)
                continue
            self._pause = self._policy.retry_first
            return True

    def _resume(self) -> None:
        """What an earlier agent pushed is in the tail: the part that the store does not have counts as one entry."""
        ahead = SpoolReader(self._folder, self._shipped())
        size = ahead.pending() - self._reader.pending()
        first = ahead.read(1)
        if size > 0 and first:
            self._window.add(first_seq(first), min(size, self._policy.tail_bytes))

    def _forget_intent(self) -> None:
        """The lines of an intent were shipped and deleted meanwhile."""
        if self._cursor.intent is not None:
            self._cursor.commit(self._cursor.intent)
            self._reader.position = self._cursor.done
