"""The one reader of a queue's Redis: new lines of every attempt that has viewers, signatures checked."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import redis.asyncio
import structlog
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from controlplane.dispatch.queue import QueueAddress
from controlplane.logs.lines import Line, in_order, valid
from controlplane.stream.channel import Channel
from controlplane.stream.sources import Tail
from worker_bootstrap.protocol import codec, crypto
from worker_bootstrap.protocol.errors import ProtocolError

log = structlog.get_logger()
BLOCK = 0.2
BUSY = 0.05
TIMEOUT = 5.0
ENTRIES_AT_ONCE = 64
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 2.0

Entry = tuple[bytes, dict[bytes, bytes]]


class TailReader:
    """Reads for as long as `run` runs. Redis may go away and come back: reading goes on at the same places."""

    def __init__(self, address: QueueAddress) -> None:
        self._client: Any = redis.asyncio.Redis.from_url(
            address.url,
            protocol=2,
            socket_connect_timeout=TIMEOUT,
            socket_timeout=TIMEOUT,
            socket_keepalive=True,
            retry=Retry(NoBackoff(), 0),
            **address.options(),
        )
        self._followed: dict[bytes, tuple[Channel, dict[str, bytes]]] = {}
        self._changed = asyncio.Event()

    def follow(self, channel: Channel, tail: Tail) -> None:
        """Read this attempt's tail too. Raises ProtocolError when its worker's key is none."""
        public = crypto.unb64(tail.signer)
        self._followed[tail.key.encode()] = (channel, {crypto.key_id(public): public})
        self._changed.set()

    def leave(self, channel: Channel) -> None:
        """Read it no more."""
        self._followed = {key: one for key, one in self._followed.items() if one[0] is not channel}

    async def run(self) -> None:
        """Until it is cancelled."""
        pause = FIRST_PAUSE
        try:
            while True:
                try:
                    await self._read()
                    pause = FIRST_PAUSE
                except (redis.RedisError, OSError) as error:
                    log.warning("stream_without_queue", why=str(error)[:300])
                    for channel, _ in self._followed.values():
                        channel.mark_ready()
                    await asyncio.sleep(pause)
                    pause = min(LONGEST_PAUSE, pause * 2)
        finally:
            await self._client.aclose()

    async def _read(self) -> None:
        """New entries of all tails, waited for a moment when there are none."""
        wanted = {key: channel for key, (channel, _) in self._followed.items() if channel.wants_tail}
        if not wanted:
            await self._idle()
            return
        count = max(1, ENTRIES_AT_ONCE // len(wanted))
        # Who has just come does not wait for the others' next line.
        block = int(BLOCK * 1000) if all(channel.ready for channel in wanted.values()) else None
        positions = {key: channel.position for key, channel in wanted.items()}
        found: dict[bytes, list[Entry]] = dict(await self._client.xread(positions, count=count, block=block) or [])
        for key, channel in wanted.items():
            entries = found.get(key, [])
            if key in self._followed and (not self._take(key, entries) or len(entries) < count):
                channel.mark_ready()

    async def _idle(self) -> None:
        """Nobody wants lines now: until somebody comes, or a moment when somebody may have caught up."""
        self._changed.clear()
        if self._followed:
            await asyncio.sleep(BUSY)
        else:
            await self._changed.wait()

    def _take(self, key: bytes, entries: Sequence[Entry]) -> bool:
        """False when the rest is to be read again later."""
        channel, keys = self._followed[key]
        for place, fields in entries:
            if not channel.wants_tail or not channel.take(place.decode(), _lines(keys, fields)):
                return False
        return True


def _lines(keys: dict[str, bytes], fields: dict[bytes, bytes]) -> list[Line]:
    """The lines of an entry that its worker signed; none of another's."""
    try:
        found = codec.decode_lines(codec.open_entry(keys, fields))
    except ProtocolError:
        return []
    return in_order(line for entry in found if (line := valid(entry)) is not None)
