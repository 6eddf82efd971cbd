"""The workers' queue of an installation, seen by the master: a Redis of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from controlplane.dispatch.errors import QueueError, QueueRefusedError
from controlplane.environments.models import Installation
from controlplane.environments.references import References, UnreadableError
from infra.installation import AccessSpec
from worker_bootstrap.protocol import codec, crypto, names
from worker_bootstrap.protocol.address import TlsLine, explain, plain_problem
from worker_bootstrap.protocol.errors import ProtocolError
from worker_bootstrap.protocol.messages import Envelope

INBOX_MAX = 10_000
TAIL_ENTRIES = 100_000
REPLY_SECONDS = 3600
# A stream that no worker reads: its name has the form of an inbox, which is all that the master's user may touch.
MARKER = names.inbox("master")
KEPT_TAIL_SECONDS = 600
LONGEST_BLOCK = 5.0

Entry = tuple[str, dict[bytes, bytes]]


@dataclass(frozen=True)
class QueueAddress:
    """Where a queue is. `ca`, `certificate` and `key` are files, for addresses that begin with rediss://."""

    url: str
    user: str = ""
    password: str = field(default="", repr=False)
    ca: str = ""
    certificate: str = ""
    key: str = ""

    def options(self) -> dict[str, Any]:
        """What the client library wants beside the address."""
        login = {"username": self.user, "password": self.password} if self.user else {}
        if not self.url.startswith("rediss://"):
            return login
        files = {"ssl_ca_certs": self.ca, "ssl_certfile": self.certificate, "ssl_keyfile": self.key}
        checks = {"ssl_cert_reqs": "required", "ssl_check_hostname": True}
        return {**login, **checks, **{name: path for name, path in files.items() if path}}


def address_of(installation: Installation | None, default_url: str, references: References) -> QueueAddress:
    """The queue of an installation; without one of its own, that of the settings. Raises QueueError."""
    if installation is None or not installation.queue_url:
        return QueueAddress(default_url)
    spec: dict[str, Any] = installation.document.get("queue", {})
    given = installation.document.get("access")
    access = AccessSpec.model_validate(given) if given else None
    try:
        return QueueAddress(
            url=installation.queue_url,
            user=spec.get("user", names.MASTER_USER),
            password=references.value(spec.get("password", ""), access),
            ca=references.file(spec.get("ca", ""), access),
            certificate=references.file(spec.get("certificate", ""), access),
            key=references.file(spec.get("key", ""), access),
        )
    except UnreadableError as error:
        kind = QueueError if error.passing else QueueRefusedError
        raise kind(f"how to reach the workers' queue: {error}") from error


class Queue:
    """What the master does with one queue. Every method raises QueueError; `timeout` is seconds for each call."""

    def __init__(self, address: QueueAddress | str, timeout: float = 5.0) -> None:
        where = QueueAddress(address) if isinstance(address, str) else address
        if not where.url:
            raise QueueError("no address of a queue is set (REMORA_QUEUE_URL)")
        problem = plain_problem(where.url)
        if problem:
            raise QueueRefusedError(f"the workers' queue: {problem}")
        self._line = TlsLine(where.url, where.ca, where.certificate, where.key)
        self._redis = self._client(where, timeout, timeout)
        self._reader = self._client(where, timeout, timeout + LONGEST_BLOCK)

    @staticmethod
    def _client(where: QueueAddress, connect: float, answer: float) -> Any:
        # A connection that a restart of Redis has cut is opened again once; what is said twice does no harm.
        again = Retry(NoBackoff(), 1, supported_errors=(redis.ConnectionError,))
        return redis.Redis.from_url(
            where.url,
            protocol=2,
            socket_connect_timeout=connect,
            socket_timeout=answer,
            socket_keepalive=True,
            retry=again,
            **where.options(),
        )

    def close(self) -> None:
        """Close the connections."""
        self._redis.close()
        self._reader.close()

    def ping(self) -> None:
        """Raise QueueError unless it answers."""
        self._call(self._redis.ping)

    def send(self, worker: str, key: crypto.SigningKey, messages: Sequence[Envelope]) -> None:
        """One signed batch into a worker's inbox."""
        entry = codec.encode(key, messages)
        self._call(self._redis.xadd, names.inbox(worker), entry, maxlen=INBOX_MAX, approximate=True)

    def read(self, positions: dict[str, str], block: float, count: int = 100) -> dict[str, list[Entry]]:
        """New entries of many streams: {stream: [(id, fields)]}; waits up to `block` seconds (at most 5)."""
        if not positions:
            return {}
        wait = max(1, int(min(block, LONGEST_BLOCK) * 1000))
        found = self._call(self._reader.xread, dict(positions), count=count, block=wait)
        return {stream.decode(): [(entry_id.decode(), fields) for entry_id, fields in rows] for stream, rows in found}

    def trim(self, stream: str, minimum: str) -> None:
        """Forget entries before the id `minimum`."""
        self._call(self._redis.xtrim, stream, minid=minimum, approximate=False)

    def cap(self, stream: str, entries: int) -> None:
        """Forget all but about the newest `entries`."""
        self._call(self._redis.xtrim, stream, maxlen=entries, approximate=True)

    def forget_worker(self, worker: str) -> None:
        """Remove the user and the streams of a worker that has left."""
        self.remove_user(names.worker_user(worker))
        self._call(self._redis.delete, names.inbox(worker), names.outbox(worker))

    def expire_tail(self, worker: str, attempt: str, seconds: int = KEPT_TAIL_SECONDS) -> None:
        """Let an attempt's live tail go in a while: its log is in the store."""
        self._call(self._redis.expire, names.tail(worker, attempt), seconds)

    def reply_to_join(self, machine: str, reply: bytes) -> None:
        """The sealed answer to a machine; it stays an hour."""
        key = names.joined_key(machine)
        self._call(self._redis.xadd, key, {"reply": reply}, maxlen=1, approximate=False)
        self._call(self._redis.expire, key, REPLY_SECONDS)

    def users(self) -> set[str]:
        """Names of the Redis users."""
        return {name.decode() for name in self._call(self._redis.execute_command, "ACL", "USERS")}

    def default_user_is_on(self) -> bool:
        """Whether somebody without a name may come in."""
        found = self._call(self._redis.execute_command, "ACL", "GETUSER", "default")
        if isinstance(found, dict):
            return "on" in found["flags"]
        return b"on" in dict(zip(found[::2], found[1::2], strict=True))[b"flags"]

    def set_user(self, name: str, rules: list[str]) -> None:
        """Make or replace a Redis user."""
        self._call(self._redis.execute_command, "ACL", "SETUSER", name, *rules)

    def remove_user(self, name: str) -> None:
        """Remove a Redis user; its connections end."""
        self._call(self._redis.execute_command, "ACL", "DELUSER", name)

    def mark(self) -> bool:
        """Leave the master's mark; True when it was not there: the queue is new, or has lost what it held."""
        if self._call(self._redis.exists, MARKER):
            return False
        self._call(self._redis.xadd, MARKER, {"mark": "1"}, maxlen=1, approximate=False)
        return True

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

    def _call(self, function: Any, *args: Any, **options: Any) -> Any:
        try:
            return function(*args, **options)
        except (redis.ResponseError, redis.AuthenticationError) as error:
            raise QueueRefusedError(f"the workers' queue refuses: {error}") from error
        except (redis.RedisError, OSError) as error:
            raise QueueError(f"the workers' queue: {explain(error, self._line)}") from error


class QueueProvider:
    """Queues by installation, each connected at its first use."""

    def __init__(self, url: str, references: References, timeout: float = 5.0) -> None:
        self._url = url
        self._references = references
        self._timeout = timeout
        self._queues: dict[QueueAddress, Queue] = {}

    def get(self, installation: Installation | None = None) -> Queue:
        """The queue of this installation, or of the settings. Raises QueueError when there is no address."""
        address = address_of(installation, self._url, self._references)
        if address not in self._queues:
            self._queues[address] = Queue(address, self._timeout)
        return self._queues[address]


def after(entry_id: str) -> str:
    """The stream id right after `entry_id`. Raises ProtocolError for text that is none."""
    milliseconds, _, sequence = entry_id.partition("-")
    if not (milliseconds.isdigit() and (sequence or "0").isdigit() and len(entry_id) <= 40):
        raise ProtocolError(f"{entry_id[:40]!r} is no stream id")
    return f"{milliseconds}-{int(sequence or 0) + 1}"
