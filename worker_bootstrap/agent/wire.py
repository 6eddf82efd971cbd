"""Messages to and from the master: a durable outbox, a verified inbox, questions with answers."""

from __future__ import annotations

import sqlite3
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import redis

from worker_bootstrap.agent.identity import Identity, entries_of
from worker_bootstrap.protocol import codec, names, typed
from worker_bootstrap.protocol.errors import ProtocolError
from worker_bootstrap.protocol.messages import Ack, Envelope, Relay, UrlItem, Urls

BATCH = 200
Log = Callable[[str], None]


class UnansweredError(RuntimeError):
    """The master did not answer a question in time."""


class Outbox:
    """Sequenced messages: on disk before they are sent, forgotten when the master has committed them."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        self._db.execute(
            "CREATE TABLE IF NOT EXISTS message (seq INTEGER PRIMARY KEY AUTOINCREMENT, kind, attempt, body)"
        )
        self._db.execute("CREATE TABLE IF NOT EXISTS position (name PRIMARY KEY, value)")
        self.ready = threading.Event()

    def put(self, kind: str, attempt: str, body: bytes) -> int:
        """Keep a message; returns its seq."""
        with self._lock:
            cursor = self._db.execute(
                "INSERT INTO message (kind, attempt, body) VALUES (?, ?, ?)", (kind, attempt, body)
            )
            seq = cursor.lastrowid or 0
        self.ready.set()
        return seq

    def after(self, seq: int, limit: int = BATCH) -> list[tuple[int, str, str, bytes]]:
        """The next messages after `seq`."""
        with self._lock:
            query = "SELECT seq, kind, attempt, body FROM message WHERE seq > ? ORDER BY seq LIMIT ?"
            return self._db.execute(query, (seq, limit)).fetchall()

    def forget(self, seq: int) -> None:
        """Everything up to `seq` is committed at the master."""
        with self._lock:
            self._db.execute("DELETE FROM message WHERE seq <= ?", (seq,))

    def position(self, name: str) -> str:
        """A kept reading position, `0-0` before the first."""
        with self._lock:
            row = self._db.execute("SELECT value FROM position WHERE name = ?", (name,)).fetchone()
        return row[0] if row else "0-0"

    def set_position(self, name: str, value: str) -> None:
        """Keep a reading position."""
        with self._lock:
            self._db.execute("INSERT OR REPLACE INTO position VALUES (?, ?)", (name, value))


class Wire:
    """One connection to the master through the queue; its threads live as long as the agent."""

    def __init__(self, client: Any, identity: Identity, outbox: Outbox, resend_after: float, log: Log) -> None:
        self._client = client
        self._identity = identity
        self._key = identity.signing_key
        self._masters = identity.masters
        self._outbox = outbox
        self._resend_after = resend_after
        self._log = log
        self._sent = 0
        self._acked_at = time.monotonic()
        self._answers: dict[str, Any] = {}
        self._waiting: dict[str, threading.Event] = {}

    @property
    def read_position(self) -> str:
        """The last inbox id that was handled."""
        return self._outbox.position("inbox")

    def emit(self, kind: str, attempt: str, body: Any) -> None:
        """A sequenced message: kept on disk, sent soon, never lost."""
        self._outbox.put(kind, attempt, typed.dumps(body))

    def say(self, kind: str, body: Any, attempt: str = "") -> None:
        """A message that may be lost because it is said again. Raises redis.RedisError."""
        self._send([self._envelope(kind, attempt, typed.dump(body), 0)])

    def push_tail(self, attempt: str, raw: bytes, entries: int) -> None:
        """Live log lines. Raises redis.RedisError."""
        stream = names.tail(self._identity.worker, attempt)
        self._client.xadd(stream, codec.sign_entry(self._key, raw), maxlen=entries, approximate=False)

    def ask_urls(self, attempt: str, items: list[UrlItem], timeout: float) -> list[UrlItem]:
        """Signed addresses. Raises UnansweredError."""
        request = str(uuid.uuid4())
        answer: Urls = self._ask("urls", attempt, Urls(request, items), request, timeout)
        return answer.items

    def relay(self, attempt: str, call: Relay, timeout: float) -> Relay:
        """A call from inside a container. Raises UnansweredError."""
        return self._ask("relay", attempt, call, call.request, timeout)

    def run_sender(self, stop: threading.Event) -> None:
        """Send what is on disk, again from the oldest when no ack came."""
        while not stop.is_set():
            self._outbox.ready.wait(0.5)
            self._outbox.ready.clear()
            try:
                if self._sent and time.monotonic() - self._acked_at > self._resend_after and self._outbox.after(0, 1):
                    self._sent, self._acked_at = 0, time.monotonic()
                self._send_stored()
            except redis.RedisError as error:
                self._log(f"queue away: {error}")
                self._sent = 0
                stop.wait(1.0)

    def run_receiver(self, stop: threading.Event, handle: Callable[[Envelope], None]) -> None:
        """Read the inbox; `handle` gets verified messages for this worker."""
        stream = names.inbox(self._identity.worker)
        while not stop.is_set():
            try:
                found = self._client.xread({stream: self.read_position}, block=1000, count=100)
            except redis.RedisError as error:
                self._log(f"queue away: {error}")
                stop.wait(1.0)
                continue
            for entry_id, fields in entries_of(found):
                self._receive(fields, handle)
                self._outbox.set_position("inbox", entry_id)

    def _receive(self, fields: dict[bytes, bytes], handle: Callable[[Envelope], None]) -> None:
        try:
            messages = codec.decode(self._masters, fields, direction="down")
        except ProtocolError as error:
            self._log(f"batch refused: {error}")
            return
        for message in messages:
            if message.worker != self._identity.worker or message.installation != self._identity.installation:
                self._log("message refused: it is for another worker")
                continue
            self._dispatch(message, handle)

    def _dispatch(self, message: Envelope, handle: Callable[[Envelope], None]) -> None:
        try:
            if message.kind == "ack":
                self._outbox.forget(codec.body(Ack, message).seq)
                self._acked_at = time.monotonic()
            elif message.kind == "urls":
                urls = codec.body(Urls, message)
                self._answer(urls.request, urls)
            elif message.kind == "relay":
                call = codec.body(Relay, message)
                self._answer(call.request, call)
            else:
                handle(message)
        except ProtocolError as error:
            self._log(f"message refused: {error}")

    def _send_stored(self) -> None:
        while rows := self._outbox.after(self._sent):
            messages = [
                self._envelope(kind, attempt, typed.parse(body, 64 << 20, 100), seq)
                for seq, kind, attempt, body in rows
            ]
            self._send(messages)
            self._sent = rows[-1][0]

    def _send(self, messages: list[Envelope]) -> None:
        self._client.xadd(names.outbox(self._identity.worker), codec.encode(self._key, messages))

    def _envelope(self, kind: str, attempt: str, body: dict[str, Any], seq: int) -> Envelope:
        return Envelope(
            id=str(uuid.uuid4()),
            kind=kind,
            installation=self._identity.installation,
            worker=self._identity.worker,
            sent=time.time(),
            body=body,
            attempt=attempt,
            seq=seq,
        )

    def _ask(self, kind: str, attempt: str, body: Any, request: str, timeout: float) -> Any:
        arrived = self._waiting[request] = threading.Event()
        deadline = time.monotonic() + timeout
        try:
            while time.monotonic() < deadline:
                try:
                    self.say(kind, body, attempt)
                except redis.RedisError as error:
                    self._log(f"queue away: {error}")
                if arrived.wait(min(5.0, timeout)):
                    return self._answers.pop(request)
        finally:
            self._waiting.pop(request, None)
        raise UnansweredError(f"the master did not answer {kind} in {timeout:.0f} s")

    def _answer(self, request: str, answer: Any) -> None:
        waiting = self._waiting.get(request)
        if waiting is not None:
            self._answers[request] = answer
            waiting.set()
