"""The workers' queue, seen by the master: a Redis of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from worker_bootstrap.protocol import codec, crypto, names
from worker_bootstrap.protocol.errors import ProtocolError
from worker_bootstrap.protocol.messages import Envelope

INBOX_MAX = 10_000
TAIL_ENTRIES = 100_000


class QueueError(RuntimeError):
    """The queue does not answer, or refuses."""


class Queue:
    """What the master does with the queue. Every method raises QueueError."""

    def __init__(self, url: str, timeout: float = 5.0) -> None:
        self._redis: Any = redis.Redis.from_url(
            url, socket_timeout=timeout + 5, socket_connect_timeout=timeout, retry=Retry(NoBackoff(), 0)
        )

    def ping(self) -> None:
        """Raise QueueError unless it answers."""
        self._call(self._redis.ping)

    def send(self, worker: str, key: crypto.SigningKey, messages: Sequence[Envelope]) -> None:
        """One signed batch into a worker's inbox."""
        entry = codec.encode(key, messages)
        self._call(self._redis.xadd, names.inbox(worker), entry, maxlen=INBOX_MAX, approximate=True)

    def read(
        self, positions: dict[str, str], block: float, count: int = 100
    ) -> dict[str, list[tuple[str, dict[bytes, bytes]]]]:
        """New entries of many streams: {stream: [(id, fields)]}; waits up to `block` seconds."""
        if not positions:
            return {}
        found = self._call(self._redis.xread, dict(positions), count=count, block=max(1, int(block * 1000)))
        pairs = found.items() if isinstance(found, dict) else (found or [])
        result: dict[str, list[tuple[str, dict[bytes, bytes]]]] = {}
        for stream, entries in pairs:
            flat = entries[0] if entries and isinstance(entries[0], list) else entries
            result[stream.decode() if isinstance(stream, bytes) else stream] = [(i.decode(), f) for i, f in flat]
        return result

    def trim(self, stream: str, minimum: str) -> None:
        """Forget entries before the id `minimum`."""
        self._call(self._redis.xtrim, stream, minid=minimum, approximate=False)

    def delete(self, *keys: str) -> None:
        """Forget keys."""
        self._call(self._redis.delete, *keys)

    def reply_to_join(self, machine: str, reply: bytes) -> None:
        """The sealed answer to a machine; it stays an hour."""
        key = names.joined_key(machine)
        self._call(self._redis.xadd, key, {"reply": reply}, maxlen=1, approximate=False)
        self._call(self._redis.expire, key, 3600)

    def users(self) -> set[str]:
        """Names of the Redis users."""
        return {name.decode() if isinstance(name, bytes) else name for name in self._call(self._redis.acl_users)}

    def set_user(self, name: str, rules: list[str]) -> None:
        """Make or replace a Redis user."""
        self._call(self._redis.execute_command, "ACL", "SETUSER", name, *rules)

    def remove_user(self, name: str) -> None:
        """Remove a Redis user."""
        self._call(self._redis.execute_command, "ACL", "DELUSER", name)

    def read_tail(self, worker: str, public_key: str, attempt: str) -> list[list[Any]]:
        """The live lines of an attempt whose signature is the worker's."""
        keys = {crypto.key_id(crypto.unb64(public_key)): crypto.unb64(public_key)}
        entries = self._call(self._redis.xrange, names.tail(worker, attempt), count=TAIL_ENTRIES)
        lines: list[list[Any]] = []
        for _, fields in entries:
            try:
                lines.extend(codec.decode_lines(codec.open_entry(keys, fields)))
            except ProtocolError:
                continue
        return lines

    @staticmethod
    def _call(function: Any, *args: Any, **options: Any) -> Any:
        try:
            return function(*args, **options)
        except redis.RedisError as error:
            raise QueueError(f"the workers' queue: {error}") from error


class QueueProvider:
    """The queue, connected at the first use."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._queue: Queue | None = None

    def get(self) -> Queue:
        """The queue. Raises QueueError when no address is set."""
        if not self._url:
            raise QueueError("no queue_url is set")
        if self._queue is None:
            self._queue = Queue(self._url)
        return cast(Queue, self._queue)
