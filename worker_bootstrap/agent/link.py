"""The line to the master through the queue: signed batches out, raw entries in, with the login's care."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Sequence
from typing import Any

import redis

from worker_bootstrap.agent.config import AgentConfig
from worker_bootstrap.agent.identity import Keys, Membership
from worker_bootstrap.agent.log import logger
from worker_bootstrap.agent.queue import REFUSED, Fields, connect, entries_of
from worker_bootstrap.protocol import codec, crypto, names, typed
from worker_bootstrap.protocol.messages import Envelope

OUT_ENTRIES = 500
Rejoin = Callable[[], Membership | None]


class Link:
    """Every method raises redis.RedisError when the queue is away; nothing here retries.

    A login that stays refused for `rejoin_after` is given up: the machine joins anew, as the same worker.
    """

    def __init__(self, config: AgentConfig, keys: Keys, membership: Membership, rejoin: Rejoin) -> None:
        self._config = config
        self._key = keys.signing_key
        self._rejoin = rejoin
        self._lock = threading.Lock()
        self._refused_since: float | None = None
        self.membership = membership
        self.masters = membership.masters
        self._client = connect(config, membership.queue_user, membership.queue_password)

    @property
    def client(self) -> Any:
        """The Redis client of the present login."""
        return self._client

    @property
    def signing_key(self) -> crypto.SigningKey:
        """Signs what this worker says."""
        return self._key

    @property
    def worker(self) -> str:
        """This worker's id."""
        return self.membership.worker

    def envelope(self, kind: str, attempt: str, body: dict[str, Any], seq: int = 0) -> Envelope:
        """A message of this worker."""
        return Envelope(
            id=str(uuid.uuid4()),
            kind=kind,
            installation=self.membership.installation,
            worker=self.membership.worker,
            sent=time.time(),
            body=body,
            attempt=attempt,
            seq=seq,
        )

    def send(self, messages: Sequence[Envelope]) -> None:
        """One signed batch. The stream is bounded: what falls out unread is sent again."""
        entry = codec.encode(self._key, messages)
        self._call("xadd", names.outbox(self.worker), entry, maxlen=OUT_ENTRIES, approximate=True)

    def say(self, kind: str, body: Any, attempt: str = "") -> None:
        """A message that may be lost because it is said again."""
        self.send([self.envelope(kind, attempt, typed.dump(body))])

    def read(self, position: str, block: float) -> list[tuple[str, Fields]]:
        """Inbox entries after `position`; waits up to `block` seconds."""
        found = self._call("xread", {names.inbox(self.worker): position}, block=max(1, int(block * 1000)), count=100)
        return entries_of(found)

    def _call(self, name: str, *args: Any, **options: Any) -> Any:
        client = self._client
        try:
            answer = getattr(client, name)(*args, **options)
        except REFUSED as error:
            self._refused(client, error)
            raise
        self._refused_since = None
        return answer

    def _refused(self, client: Any, error: redis.RedisError) -> None:
        """The master makes users again after a restart of Redis: so wait first, and only then join anew."""
        with self._lock:
            now = time.monotonic()
            if client is not self._client:
                return
            if self._refused_since is None:
                self._refused_since = now
            if now - self._refused_since < self._config.rejoin_after:
                return
            logger.warning("the queue refuses this worker's login: joining anew (%s)", type(error).__name__)
            self._refused_since = now
            fresh = self._rejoin()
            if fresh is None:
                return
            self.membership, self.masters = fresh, fresh.masters
            self._client = connect(self._config, fresh.queue_user, fresh.queue_password)
