"""Everything that one `stream` process follows: executions that have viewers, channels of attempts, readers of Redis.

The cost of an execution is the same for one viewer and for a thousand: the database is asked when somebody connects,
and once each `stream_watch_interval` by one query for all executions that have viewers; each queue has one reader;
lines that a tail has no more are read from the store once for all who are at the newest line.

A task that breaks ends the process: the supervisor starts it again, and viewers come back to where they were.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import structlog
from sqlalchemy.exc import SQLAlchemyError

from controlplane.dispatch.queue import QueueAddress, QueueError
from controlplane.settings import Settings
from controlplane.stream.channel import Channel, Watcher
from controlplane.stream.recovery import Recovery
from controlplane.stream.sources import ExecutionNow, Sources
from controlplane.stream.tails import TailReader
from worker_bootstrap.protocol.errors import ProtocolError

log = structlog.get_logger()
THREADS = 4
RETRY = 1.0


class Followed:
    """An execution that has viewers."""

    def __init__(self, now: ExecutionNow) -> None:
        self.now = now
        self.viewers: set[Watcher] = set()

    def following(self, number: int) -> int:
        """The attempt after `number`; 0 when there is none yet."""
        return min((other for other in self.now.attempts if other > number), default=0)


class Hub:
    """Begins to follow what viewers ask for, and stops when the last of them has left. Used by one event loop."""

    def __init__(self, sources: Sources, settings: Settings, on_failure: Callable[[], None]) -> None:
        self.sources = sources
        self.settings = settings
        self.ending = False
        self._on_failure = on_failure
        self._followed: dict[str, Followed] = {}
        self._channels: dict[str, Channel] = {}
        self._readers: dict[QueueAddress, TailReader] = {}
        self._tasks: dict[object, asyncio.Task[None]] = {}
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="stream")

    async def run(self, function: Callable[..., Any], *args: Any) -> Any:
        """A blocking call, in a thread."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, function, *args)

    def start(self) -> None:
        """Begin to look at states."""
        self._spawn(self, self._watch())

    def end(self) -> None:
        """Let every viewer go: the process ends."""
        self.ending = True
        for followed in self._followed.values():
            for viewer in followed.viewers:
                viewer.notify()

    async def close(self) -> None:
        """End the tasks and threads, and what they used."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._threads.shutdown(wait=False, cancel_futures=True)
        self.sources.close()

    @property
    def viewers(self) -> int:
        """How many there are."""
        return sum(len(followed.viewers) for followed in self._followed.values())

    def enter(self, execution: str, now: ExecutionNow, viewer: Watcher) -> Followed:
        """A viewer of an execution comes; `now` is what was just read of it."""
        followed = self._followed.setdefault(execution, Followed(now))
        followed.viewers.add(viewer)
        self._update(followed, now)
        return followed

    def leave(self, execution: str, viewer: Watcher) -> None:
        """It goes."""
        followed = self._followed[execution]
        followed.viewers.discard(viewer)
        if not followed.viewers:
            del self._followed[execution]

    def join(self, followed: Followed, number: int, viewer: Watcher) -> Channel:
        """The channel of an attempt, with this viewer on it."""
        attempt = followed.now.attempts[number]
        channel = self._channels.get(attempt.id)
        if channel is None:
            channel = self._channels[attempt.id] = Channel(attempt, self.settings.stream_buffer_bytes)
            channel.update(attempt, settled=_settled(followed.now, number))
            self._spawn(channel, self._tend(channel))
        channel.viewers.add(viewer)
        return channel

    def part(self, channel: Channel, viewer: Watcher) -> None:
        """The viewer goes on elsewhere."""
        channel.viewers.discard(viewer)
        if channel.viewers:
            return
        del self._channels[channel.id]
        self._tasks.pop(channel).cancel()

    def _update(self, followed: Followed, now: ExecutionNow) -> None:
        if now.asked < followed.now.asked:
            return
        is_new, followed.now = now != followed.now, now
        for viewer in followed.viewers if is_new else ():
            viewer.notify()
        for number, attempt in now.attempts.items():
            channel = self._channels.get(attempt.id)
            if channel is not None:
                channel.update(attempt, settled=_settled(now, number))

    async def _watch(self) -> None:
        """What the database says of everything that is followed, again and again."""
        while True:
            await asyncio.sleep(self.settings.stream_watch_interval)
            if not self._followed:
                continue
            try:
                found = await self.run(self.sources.look, list(self._followed))
            except SQLAlchemyError as error:
                log.warning("stream_without_database", error=type(error).__name__)
                continue
            for execution, now in found.items():
                if execution in self._followed:
                    self._update(self._followed[execution], now)

    async def _tend(self, channel: Channel) -> None:
        """One channel, from its beginning until its attempt has told everything."""
        try:
            if not channel.final():
                await self._read_tail(channel)
            while True:
                channel.changed.clear()
                if channel.until() > channel.last:
                    await self._recover(channel)
                elif channel.final():
                    channel.close()
                    return
                else:
                    await channel.changed.wait()
        finally:
            for reader in self._readers.values():
                reader.leave(channel)

    async def _read_tail(self, channel: Channel) -> None:
        while True:
            try:
                tail = await self.run(self.sources.tail, channel.id)
                self._reader(tail.queue).follow(channel, tail)
                return
            except (SQLAlchemyError, QueueError, ProtocolError) as error:
                log.warning("stream_without_tail", attempt=channel.id, why=str(error)[:300])
                channel.mark_ready()
                await asyncio.sleep(RETRY)

    def _reader(self, address: QueueAddress) -> TailReader:
        if address not in self._readers:
            reader = self._readers[address] = TailReader(address)
            self._spawn(reader, reader.run())
        return self._readers[address]

    async def _recover(self, channel: Channel) -> None:
        """Lines that exist and did not come by the tail."""
        patience = self.settings.stream_gap_patience
        recovery = Recovery(self.run, self.sources, (channel.id, channel.number), channel.last, channel, patience)
        while channel.until() > channel.last:
            while not channel.has_room():
                await asyncio.sleep(recovery.pause)
            recovery.skip_to(channel.last)
            found = await recovery.next()
            channel.append(found)
            if not found:
                await asyncio.sleep(recovery.pause)

    def _spawn(self, key: object, work: Coroutine[Any, Any, None]) -> None:
        task = self._tasks[key] = asyncio.get_running_loop().create_task(work)
        task.add_done_callback(self._check)

    def _check(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("stream_task_broke", exc_info=error)
            self._on_failure()


def _settled(now: ExecutionNow, number: int) -> bool:
    """Whether an attempt is over for good: the execution is, or a newer attempt was granted."""
    return now.over or now.newest > number
