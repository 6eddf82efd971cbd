"""Questions to the master and their answers: signed addresses, and calls out of containers."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable
from typing import Any

import redis

from worker_bootstrap.agent.link import Link
from worker_bootstrap.protocol import codec
from worker_bootstrap.protocol.messages import Envelope, Relay, UrlItem, Urls

MAX_ITEMS = 200
Halted = Callable[[], bool]


class UnansweredError(RuntimeError):
    """The master did not answer in time, or the asker was told to end."""


class Questions:
    """Asks again until it is answered. Thread-safe."""

    def __init__(self, link: Link, ask_interval: float) -> None:
        self._link = link
        self._interval = ask_interval
        self._lock = threading.Lock()
        self._open: dict[str, tuple[threading.Event, list[Any]]] = {}

    def urls(self, attempt: str, items: list[UrlItem], patience: float, halted: Halted) -> dict[str, UrlItem]:
        """Answers by item id, for at most MAX_ITEMS. Raises UnansweredError."""
        request = str(uuid.uuid4())
        answer: Urls = self._ask("urls", attempt, Urls(request, items[:MAX_ITEMS]), request, patience, halted)
        return {item.id: item for item in answer.items}

    def relay(self, attempt: str, call: Relay, patience: float, halted: Halted) -> Relay:
        """The answer to a call of a container. Raises UnansweredError."""
        return self._ask("relay", attempt, call, call.request, patience, halted)

    def on_answer(self, message: Envelope) -> None:
        """A `urls` or `relay` message came. Raises ProtocolError."""
        answer = codec.body(Urls if message.kind == "urls" else Relay, message)
        with self._lock:
            waiting = self._open.get(answer.request)
        if waiting is not None:
            arrived, slot = waiting
            slot.append(answer)
            arrived.set()

    def _ask(self, kind: str, attempt: str, body: Any, request: str, patience: float, halted: Halted) -> Any:
        arrived, slot = threading.Event(), []
        deadline = time.monotonic() + patience
        with self._lock:
            self._open[request] = (arrived, slot)
        try:
            while not halted() and time.monotonic() < deadline:
                self._say(kind, body, attempt)
                again = min(time.monotonic() + self._interval, deadline)
                while not halted() and time.monotonic() < again:
                    if arrived.wait(0.1):
                        return slot[0]
        finally:
            with self._lock:
                self._open.pop(request, None)
        raise UnansweredError(f"no answer from the master to a question about {kind} in {patience:.0f} s")

    def _say(self, kind: str, body: Any, attempt: str) -> None:
        try:
            self._link.say(kind, body, attempt)
        except redis.RedisError:
            return  # the queue is away: asked again after the interval
