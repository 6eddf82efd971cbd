"""The agent's part of an attempt's log: three readers of the spool, each at its own pace."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from worker_bootstrap.agent.logs.scanner import Scanner
from worker_bootstrap.agent.logs.segmenter import Segmenter
from worker_bootstrap.agent.logs.tail import TailPusher
from worker_bootstrap.agent.logs.types import Emit, LogPolicy, Shipped, Tail, Upload

END_POLL = 0.02
log = logging.getLogger(__name__)


class Shipper:
    """Of one attempt, over the keeper's folder. A new one goes on where the last one stopped."""

    def __init__(
        self,
        directory: Path,
        *,
        tail: Tail,
        upload: Upload,
        emit: Emit,
        policy: LogPolicy | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._policy = policy or LogPolicy()
        self._scanner = Scanner(directory, emit, self._policy, now)
        self._segmenter = Segmenter(directory, upload, emit, self._policy, lambda: self._scanner.done)
        self._pusher = TailPusher(directory, tail, self._policy, lambda: self._segmenter.done)
        self._ending = threading.Event()
        self._stop = threading.Event()
        self._wake = threading.Event()
        self._pushed = threading.Event()
        self._scanned = threading.Event()
        self._stored = threading.Event()
        self._ended_at = 0.0
        self._threads = [
            threading.Thread(target=self._push, name="log-tail", daemon=True),
            threading.Thread(target=self._scan, name="log-scan", daemon=True),
            threading.Thread(target=self._store, name="log-store", daemon=True),
        ]

    def start(self) -> None:
        """Ship what is there, and what comes."""
        for thread in self._threads:
            thread.start()

    def last_output(self) -> datetime | None:
        """Time (UTC) of the last line of stdout or stderr, at most `metadata_interval` late; None before the first."""
        return self._scanner.last_output()

    def pending(self) -> int:
        """Bytes that are on this machine only."""
        return self._segmenter.pending()

    def finish(self, timeout: float | None = None) -> Shipped | None:
        """After the keeper has finished: ship the rest. None if it takes longer; call it again then."""
        self._ending.set()
        self._wake.set()
        if not self._stored.wait(timeout):
            return None
        self.stop()
        return Shipped(self._segmenter.last_seq, self._segmenter.lines)

    def stop(self) -> None:
        """End the threads; what is not shipped stays for the next shipper."""
        self._stop.set()
        self._wake.set()
        for thread in self._threads:
            if thread.is_alive():
                thread.join()

    def _push(self) -> None:
        self._guarded(lambda: self._pusher.run(self._stop, self._ending, self._pushed), self._pushed)

    def _scan(self) -> None:
        def work() -> None:
            while not self._stop.is_set():
                ending = self._ending.is_set()
                while self._scanner.step(ending=ending) and not self._stop.is_set():
                    pass
                if ending:
                    self._scanned.set()
                    return
                self._wait(self._policy.metadata_interval)

        self._guarded(work, self._scanned)

    def _store(self) -> None:
        def work() -> None:
            while not self._stop.is_set():
                ending = self._ending.is_set() and self._scanned.is_set() and self._tail_settled()
                while self._segmenter.step(self._stop, ending=ending) and not self._stop.is_set():
                    pass
                if ending and not self._segmenter.pending():
                    self._stored.set()
                    return
                self._wait(self._policy.segment_poll)

        self._guarded(work, self._stored)

    def _wait(self, seconds: float) -> None:
        """Until `seconds` are over; short once the end has begun."""
        if self._wake.wait(seconds):
            self._stop.wait(min(seconds, END_POLL))

    def _tail_settled(self) -> bool:
        """Viewers see the last lines from the tail first, unless the queue is away."""
        if not self._ended_at:
            self._ended_at = time.monotonic()
        return self._pushed.is_set() or time.monotonic() - self._ended_at >= self._policy.tail_patience

    def _guarded(self, work: Callable[[], None], finished: threading.Event) -> None:
        """The disk may be full or away for a while: the work begins again at its last kept position."""
        while not self._stop.is_set() and not finished.is_set():
            try:
                work()
                return
            except OSError as error:
                log.warning("log of an attempt: %s; trying again", error)
                self._stop.wait(self._policy.retry_first)
