"""What this worker must not lose, on its disk: messages until they are acknowledged, and what it has seen.

One SQLite file. Every message has a number; numbers only grow, without holes: the master applies them in order.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_TABLES = """
CREATE TABLE IF NOT EXISTS message (
    seq INTEGER PRIMARY KEY, kind TEXT NOT NULL, attempt TEXT NOT NULL, body BLOB NOT NULL, sent REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS value (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS once (attempt TEXT NOT NULL, key TEXT NOT NULL, PRIMARY KEY (attempt, key)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS seen (
    execution TEXT PRIMARY KEY, number INTEGER NOT NULL, attempt TEXT NOT NULL, at REAL NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS seen_at ON seen (at);
"""
SEEN_FOR = 90 * 86400.0
FULL_PAUSE = 1.0


@dataclass(frozen=True)
class Stored:
    """A message that waits for its acknowledgement; `body` is JSON."""

    seq: int
    kind: str
    attempt: str
    body: bytes
    sent: float


class Outbox:
    """Thread-safe. A full disk makes writers wait: what must not be lost is not dropped."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.RLock()
        self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        self._db.executescript(_TABLES)
        path.chmod(0o600)
        self.ready = threading.Event()

    def bind(self, worker: str) -> bool:
        """Whether what is stored belonged to another worker: then it is dropped, and numbers start again."""
        with self._lock:
            known = self._get("worker", "")
            if known == worker:
                return False
            with self._change():
                for table in ("message", "value", "once", "seen"):
                    self._db.execute(f"DELETE FROM {table}")  # noqa: S608 - names from the line above
                self._set("worker", worker)
            return bool(known)

    def put(self, kind: str, attempt: str, body: bytes, key: str = "") -> int | None:
        """Keep a message; returns its number. None when `key` was used before for this attempt (nothing is kept)."""
        while True:
            try:
                seq = self._put(kind, attempt, body, key)
            except sqlite3.OperationalError as error:
                if "full" not in str(error):
                    raise
                time.sleep(FULL_PAUSE)
                continue
            if seq is not None:
                self.ready.set()
            return seq

    def _put(self, kind: str, attempt: str, body: bytes, key: str) -> int | None:
        with self._lock, self._change():
            if key:
                cursor = self._db.execute("INSERT OR IGNORE INTO once VALUES (?, ?)", (attempt, key))
                if cursor.rowcount == 0:
                    return None
            seq = int(self._get("seq", "0")) + 1
            self._set("seq", str(seq))
            row = (seq, kind, attempt, body, time.time())
            self._db.execute("INSERT INTO message VALUES (?, ?, ?, ?, ?)", row)
            return seq

    def batch(self, after: int, most: int, most_bytes: int) -> list[Stored]:
        """The next messages after `after`: one at least, then up to `most` and about `most_bytes`."""
        query = "SELECT seq, kind, attempt, body, sent FROM message WHERE seq > ? ORDER BY seq LIMIT ?"
        with self._lock:
            rows = [Stored(*row) for row in self._db.execute(query, (after, most))]
        total = 0
        for index, row in enumerate(rows):
            total += len(row.body) + 300
            if index and total > most_bytes:
                return rows[:index]
        return rows

    def acked(self, seq: int) -> None:
        """The master has committed everything up to `seq`.

        A number above all of ours means that this disk lost the counter: what waits gets new numbers after `seq`.
        """
        with self._lock, self._change():
            if seq > int(self._get("seq", "0")):
                self._renumber(seq)
                return
            self._db.execute("DELETE FROM message WHERE seq <= ?", (seq,))

    def pending(self) -> int:
        """How many messages wait."""
        with self._lock:
            return self._db.execute("SELECT count(*) FROM message").fetchone()[0]

    def newest_seq(self) -> int:
        """The number of the newest message that was ever kept."""
        with self._lock:
            return int(self._get("seq", "0"))

    def position(self) -> str:
        """The last inbox id that was handled."""
        with self._lock:
            return self._get("inbox", "0-0")

    def set_position(self, value: str) -> None:
        """Keep the reading position."""
        with self._lock, self._change():
            self._set("inbox", value)

    def remember(self, execution: str, number: int, attempt: str) -> None:
        """Note a granted attempt as the newest of its execution."""
        with self._lock, self._change():
            now = time.time()
            self._db.execute("DELETE FROM seen WHERE at < ?", (now - SEEN_FOR,))
            self._db.execute("INSERT OR REPLACE INTO seen VALUES (?, ?, ?, ?)", (execution, number, attempt, now))

    def newest(self, execution: str) -> str:
        """The newest known attempt of an execution, or empty."""
        with self._lock:
            row = self._db.execute("SELECT attempt FROM seen WHERE execution = ?", (execution,)).fetchone()
        return row[0] if row else ""

    def is_old(self, execution: str, number: int) -> bool:
        """Whether this number, or a newer one, of the execution was granted here before."""
        with self._lock:
            row = self._db.execute("SELECT number FROM seen WHERE execution = ?", (execution,)).fetchone()
        return row is not None and row[0] >= number

    def has(self, attempt: str, key: str) -> bool:
        """Whether a message was kept under this key."""
        with self._lock:
            query = "SELECT 1 FROM once WHERE attempt = ? AND key = ?"
            return self._db.execute(query, (attempt, key)).fetchone() is not None

    def forget_keys(self, attempt: str, but: str) -> None:
        """An attempt is over: its keys are not needed, except `but`."""
        with self._lock, self._change():
            self._db.execute("DELETE FROM once WHERE attempt = ? AND key <> ?", (attempt, but))

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()

    def _renumber(self, after: int) -> None:
        rows = self._db.execute("SELECT seq FROM message ORDER BY seq DESC").fetchall()
        for index, (seq,) in enumerate(rows):
            self._db.execute("UPDATE message SET seq = ? WHERE seq = ?", (after + len(rows) - index, seq))
        self._set("seq", str(after + len(rows)))

    @contextmanager
    def _change(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def _get(self, name: str, default: str) -> str:
        row = self._db.execute("SELECT value FROM value WHERE name = ?", (name,)).fetchone()
        return row[0] if row else default

    def _set(self, name: str, value: str) -> None:
        self._db.execute("INSERT OR REPLACE INTO value VALUES (?, ?)", (name, value))
