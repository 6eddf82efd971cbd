"""Reads this worker's inbox: only what the master signed, for this worker, reaches a handler."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable

import redis

from worker_bootstrap.agent.backoff import Backoff
from worker_bootstrap.agent.config import AgentConfig
from worker_bootstrap.agent.link import Link
from worker_bootstrap.agent.log import logger
from worker_bootstrap.agent.outbox import Outbox
from worker_bootstrap.agent.queue import Fields
from worker_bootstrap.protocol import codec
from worker_bootstrap.protocol.errors import ProtocolError
from worker_bootstrap.protocol.messages import Envelope

BLOCK = 1.0
Handle = Callable[[Envelope], None]


class Inbox:
    """Runs in one thread. The position is kept after an entry was handled: handlers must stand repetition."""

    def __init__(self, config: AgentConfig, link: Link, outbox: Outbox, handle: Handle) -> None:
        self._link = link
        self._outbox = outbox
        self._handle = handle
        self._away = Backoff(config.backoff_first, config.backoff_most)
        self.last_heard = time.monotonic()

    def run(self, stop: threading.Event) -> None:
        """Until `stop`."""
        while not stop.is_set():
            try:
                entries = self._link.read(self._outbox.position(), BLOCK)
                self._away.reset()
            except redis.RedisError as error:
                logger.warning("the queue is away: %s", error)
                stop.wait(self._away.next())
                continue
            for entry_id, fields in entries:
                if not self._take(entry_id, fields, stop):
                    return

    def _take(self, entry_id: str, fields: Fields, stop: threading.Event) -> bool:
        """Handle one entry, again while this machine can't (its disk is full); False when it is to end."""
        while not stop.is_set():
            try:
                self.receive(fields)
                self._outbox.set_position(entry_id)
            except (OSError, sqlite3.Error) as error:
                logger.error("a message waits: %s", error)
                stop.wait(self._away.next())
                continue
            self._away.reset()
            return True
        return False

    def receive(self, fields: Fields) -> None:
        """Check one entry and hand its messages on; what is wrong is logged and dropped."""
        try:
            messages = codec.decode(self._link.masters, fields, direction="down")
        except ProtocolError as error:
            logger.warning("batch refused: %s", error)
            return
        self.last_heard = time.monotonic()
        for message in messages:
            member = self._link.membership
            if message.worker != member.worker or message.installation != member.installation:
                logger.warning("%s refused: it is for worker %.64s", message.kind, message.worker)
                continue
            try:
                self._handle(message)
            except ProtocolError as error:
                logger.warning("%s refused: %s", message.kind, error)
