"""A loop that works only while its process leads it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import structlog
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from controlplane.dispatch.errors import QueueError
from controlplane.dispatch.leases import LeaseKeeper, LeaseLostError

log = structlog.get_logger()
LONGEST_PAUSE = 5.0
# However often a loop is woken: what comes meanwhile is done in one pass.
SHORTEST_PAUSE = 0.05
AWAY = (QueueError, OperationalError, InterfaceError, PoolTimeoutError)


class Bell:
    """One loop wakes others of its process; those of another process find the same work at their next pass."""

    def __init__(self) -> None:
        self._sleepers: list[threading.Event] = []

    def sleeper(self) -> threading.Event:
        """Set whenever the bell rings; whoever waits for it clears it."""
        event = threading.Event()
        self._sleepers.append(event)
        return event

    def ring(self) -> None:
        """Wake all."""
        for event in self._sleepers:
            event.set()


class LedLoop:
    """Runs a pass again and again while this process leads, and tells why it can't. Times in seconds.

    `wake` ends a pause early, and has to be set after `stop` as well.
    """

    def __init__(
        self,
        name: str,
        lease: LeaseKeeper,
        work: Callable[[LeaseKeeper], object],
        pause: float,
        renew: float,
        wake: threading.Event | None = None,
    ) -> None:
        self.name = name
        self._lease = lease
        self._work = work
        self._pause = pause
        self._renew = renew
        self._wake = wake
        self._renew_at = 0.0
        self._leads = False
        self._failures = 0
        self.tried = threading.Event()

    def run(self, stop: threading.Event) -> None:
        """Until `stop` is set; then another process may lead at once."""
        while not stop.is_set():
            pause = self._step()
            self.tried.set()
            self._rest(stop, pause)
        if self._leads:
            self._let_go()

    def _rest(self, stop: threading.Event, pause: float) -> None:
        if self._wake is None or self._failures or not self._leads:
            stop.wait(pause)
            return
        shortest = min(pause, SHORTEST_PAUSE)
        stop.wait(shortest)
        if self._wake.wait(pause - shortest):
            self._wake.clear()

    def _step(self) -> float:
        """One pass; returns the pause after it."""
        try:
            if time.monotonic() >= self._renew_at:
                self._lead()
            if not self._leads:
                return self._renew
            self._work(self._lease)
        except LeaseLostError:
            log.warning("lease_lost", loop=self.name)
            self._leads, self._renew_at = False, 0.0
            return self._pause
        except AWAY as error:
            return self._failed(str(error).splitlines()[0][:300])
        except Exception as error:  # noqa: BLE001 - the edge of a loop: logged, and the loop goes on
            log.exception("loop_failed", loop=self.name)
            return self._failed(type(error).__name__)
        self._failures = 0
        return self._pause

    def _lead(self) -> None:
        led = self._leads
        self._leads = self._lease.acquire()
        self._renew_at = time.monotonic() + self._renew if self._leads else 0.0
        if self._leads != led:
            log.info("leads" if self._leads else "follows", loop=self.name, epoch=self._lease.epoch)

    def _failed(self, why: str) -> float:
        self._failures += 1
        if self._failures in (1, 10) or self._failures % 60 == 0:
            log.warning("loop_waits", loop=self.name, why=why, failures=self._failures)
        return min(LONGEST_PAUSE, self._pause + 0.1 * 2 ** min(self._failures, 10), self._renew)

    def _let_go(self) -> None:
        try:
            self._lease.release()
        except AWAY as error:
            log.warning("lease_not_released", loop=self.name, why=str(error).splitlines()[0][:300])
