"""Answers that wait for a store's network: made beside the consumers, a few at once, so that no store stalls these."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable
from itertools import chain

import structlog

from controlplane.dispatch.led import AWAY

log = structlog.get_logger()
AT_ONCE = 16
EACH_AT_ONCE = 2
EACH_WAITING = 100

Work = Callable[[], None]


class SlowAnswers:
    """Runs work in threads, for each payer a few at once, payers in turn. Thread-safe.

    What finds no place is forgotten, and so is all that waits at the end: workers ask again.
    """

    def __init__(self, at_once: int = AT_ONCE, each: int = EACH_AT_ONCE, waiting: int = EACH_WAITING) -> None:
        self._at_once = at_once
        self._each = each
        self._most_waiting = waiting
        self._waiting: dict[str, deque[tuple[str, Work]]] = {}
        self._running: Counter[str] = Counter()
        self._known: set[str] = set()
        self._changed = threading.Condition()

    def put(self, payer: str, question: str, work: Work) -> bool:
        """Have it run; False when there is no place. A question that waits or runs already is not put twice."""
        with self._changed:
            if question in self._known:
                return True
            if len(self._waiting.get(payer, ())) >= self._most_waiting:
                return False
            self._known.add(question)
            self._waiting.setdefault(payer, deque()).append((question, work))
            self._start()
        return True

    def drain(self, seconds: float) -> int:
        """Forget what waits, and wait for what runs; returns how many had not ended by then."""
        with self._changed:
            for question, _ in chain.from_iterable(self._waiting.values()):
                self._known.discard(question)
            self._waiting.clear()
            self._changed.wait_for(lambda: not self._running, seconds)
            return self._running.total()

    def __len__(self) -> int:
        """How many wait or run."""
        return len(self._known)

    def _start(self) -> None:
        """Fill free places; the lock is held."""
        while self._running.total() < self._at_once:
            payer = next((payer for payer in self._waiting if self._running[payer] < self._each), None)
            if payer is None:
                return
            waiting = self._waiting.pop(payer)
            question, work = waiting.popleft()
            if waiting:
                self._waiting[payer] = waiting  # now behind the others
            self._running[payer] += 1
            threading.Thread(target=self._run, args=(payer, question, work), name="slow-answer", daemon=True).start()

    def _run(self, payer: str, question: str, work: Work) -> None:
        try:
            work()
        except AWAY as error:
            log.warning("slow_answer_lost", why=str(error).splitlines()[0][:300])
        except Exception:  # noqa: BLE001 - the edge of a thread: logged, and the worker asks again
            log.exception("slow_answer_failed")
        with self._changed:
            self._known.discard(question)
            self._running[payer] -= 1
            if not self._running[payer]:
                del self._running[payer]
            self._start()
            self._changed.notify_all()
