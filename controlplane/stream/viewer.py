"""One connected viewer: at which line of which attempt it is, and what it is sent next."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator

from controlplane.stream.channel import Channel
from controlplane.stream.events import (
    AGAIN,
    HEARTBEAT,
    HELLO,
    Piece,
    Position,
    attempt_event,
    end_event,
    state_event,
)
from controlplane.stream.hub import Hub
from controlplane.stream.recovery import Recovery
from controlplane.stream.sources import ExecutionNow

SENT_AT_ONCE = 256 * 1024


class Viewer:
    """Sends everything after `wanted`, or the newest lines first when that is None.

    It holds a place, not lines: what it has not taken yet stands in the channel's memory, or in the store.
    """

    def __init__(self, hub: Hub, execution: str, now: ExecutionNow, wanted: Position | None) -> None:
        self._hub = hub
        self._execution = execution
        self._settings = hub.settings
        self._wake = asyncio.Event()
        self._channel: Channel | None = None
        self._recovery: Recovery | None = None
        self._number = 0
        self._fresh = False
        self._live = False
        self._over = False
        self._gone = False
        self._told = ""
        self.seq = 0
        self._followed = hub.enter(execution, now, self)
        self._begin(wanted)

    def notify(self) -> None:
        """Something is new: the channel, the execution's state, or the process ends."""
        self._wake.set()

    def go(self) -> None:
        """The other side has left."""
        self._gone = True
        self._wake.set()

    def leave(self) -> None:
        """Give back everything."""
        self._part()
        self._hub.leave(self._execution, self)

    async def events(self) -> AsyncGenerator[bytes]:
        """What to send, until the end of the log or until it is time to come again."""
        yield HELLO
        begun = sent = time.monotonic()
        while not self._gone:
            self._wake.clear()
            data = await self._next()
            if data:
                sent = time.monotonic()
                yield data
            if self._over:
                return
            if self._hub.ending or time.monotonic() - begun > self._settings.stream_longest:
                yield AGAIN
                return
            if data:
                continue
            try:
                async with asyncio.timeout(max(0.0, sent + self._settings.stream_heartbeat - time.monotonic())):
                    await self._wake.wait()
            except TimeoutError:
                sent = time.monotonic()
                yield HEARTBEAT

    def _begin(self, wanted: Position | None) -> None:
        now = self._followed.now
        if wanted is not None and wanted.attempt in now.attempts:
            self._enter(wanted.attempt, wanted.seq)
        elif now.attempts:
            self._enter(now.newest, 0)
            self._fresh = True

    def _part(self) -> None:
        if self._channel is not None:
            self._hub.part(self._channel, self)
            self._channel = None

    def _enter(self, number: int, seq: int) -> None:
        self._number, self.seq, self._live, self._recovery = number, seq, False, None
        self._channel = self._hub.join(self._followed, number, self)

    async def _next(self) -> bytes:
        """What to send now; empty when there is nothing."""
        if self._told != self._followed.now.state:
            self._told = self._followed.now.state
            return state_event(self._told)
        channel = self._channel
        if channel is None:
            return self._move_on()
        if not channel.ready:
            return b""
        if self._fresh:
            self.seq, self._fresh = max(0, channel.last - self._settings.stream_backlog_lines), False
        if self.seq < channel.begin:
            return await self._behind(channel)
        self._live, self._recovery = True, None
        found = channel.after(self.seq, SENT_AT_ONCE)
        if found:
            return self._take(found)
        return self._move_on() if channel.closed else b""

    async def _behind(self, channel: Channel) -> bytes:
        """Lines that the channel has no more: of the store, for one who has just come."""
        if self._live:
            # Too slow. What the store has is read once for each connection, not over and over.
            self._over = True
            return AGAIN
        if self._recovery is None:
            missing = _Until(channel)
            patience = self._settings.stream_gap_patience
            self._recovery = Recovery(
                self._hub.run, self._hub.sources, (channel.id, channel.number), self.seq, missing, patience
            )
        found = await self._recovery.next()
        if not found:
            asyncio.get_running_loop().call_later(self._recovery.pause, self._wake.set)
            return b""
        return self._take(found)

    def _take(self, found: list[Piece]) -> bytes:
        self.seq = found[-1].last
        return b"".join(piece.encoded() for piece in found)

    def _move_on(self) -> bytes:
        """To the next attempt, or to the end."""
        number = self._followed.following(self._number)
        if number:
            self._part()
            self._enter(number, 0)
            self.notify()
            return attempt_event(number)
        if not self._followed.now.over:
            return b""
        self._over = True
        return end_event(self._number, self.seq, self._followed.now.state)


class _Until:
    """Lines that a viewer lacks to reach what its channel holds."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    def until(self) -> int:
        """See Missing."""
        return self._channel.begin

    def final(self) -> bool:
        """See Missing."""
        return self._channel.final()
