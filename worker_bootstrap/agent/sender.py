"""Sends what the outbox holds: in order, in batches, again from the oldest when no acknowledgement comes."""

from __future__ import annotations

import json
import threading
import time

import redis

from worker_bootstrap.agent.backoff import Backoff
from worker_bootstrap.agent.config import AgentConfig
from worker_bootstrap.agent.link import Link
from worker_bootstrap.agent.log import logger
from worker_bootstrap.agent.outbox import Outbox, Stored
from worker_bootstrap.protocol.messages import Envelope

BATCH_MESSAGES = 200
BATCH_BYTES = 256 * 1024
WINDOW_BATCHES = 20
IDLE = 0.5


class Sender:
    """Runs in one thread. At most WINDOW_BATCHES are under way unacknowledged, so memory stays flat on both sides."""

    def __init__(self, config: AgentConfig, link: Link, outbox: Outbox) -> None:
        self._config = config
        self._link = link
        self._outbox = outbox
        self._progress = threading.Event()
        self._acked_seq = 0
        self._resend = Backoff(config.resend_after, max(config.resend_after, config.resend_most))
        self._queue_away = Backoff(config.backoff_first, config.backoff_most)
        self._sent = 0
        self._batches = 0
        self._due = 0.0

    def on_ack(self, seq: int) -> None:
        """The master has committed up to `seq`."""
        self._outbox.acked(seq)
        if seq > self._acked_seq:
            self._acked_seq = seq
            self._progress.set()
            self._outbox.ready.set()

    def run(self, stop: threading.Event) -> None:
        """Until `stop`."""
        while not stop.is_set():
            self._outbox.ready.wait(IDLE)
            self._outbox.ready.clear()
            try:
                self._pass(stop)
                self._queue_away.reset()
            except redis.RedisError as error:
                logger.warning("the queue is away: %s", error)
                self._restart()
                stop.wait(self._queue_away.next())

    def _pass(self, stop: threading.Event) -> None:
        if self._progress.is_set():
            self._progress.clear()
            self._batches = 0
            self._resend.reset()
            self._plan_resend()
        if self._sent and time.monotonic() >= self._due:
            if self._outbox.pending():
                logger.info("no acknowledgement: sending again from the oldest message")
            else:
                self._resend.reset()
            self._restart()
        while self._batches < WINDOW_BATCHES and not stop.is_set():
            rows = self._outbox.batch(self._sent, BATCH_MESSAGES, BATCH_BYTES)
            if not rows:
                return
            if not self._sent:
                self._plan_resend()
            self._link.send([self._message(row) for row in rows])
            self._sent = rows[-1].seq
            self._batches += 1

    def _message(self, row: Stored) -> Envelope:
        return self._link.envelope(row.kind, row.attempt, json.loads(row.body), row.seq)

    def _plan_resend(self) -> None:
        self._due = time.monotonic() + self._resend.next()

    def _restart(self) -> None:
        self._sent = self._batches = 0
