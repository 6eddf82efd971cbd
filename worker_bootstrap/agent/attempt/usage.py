"""Samples of what the container uses, sent a batch a minute."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from worker_bootstrap.agent.attempt.context import now
from worker_bootstrap.agent.runtime.base import ContainerRuntimeError, Usage

MAX_KEPT = 600


class UsageSampler:
    """`sample` asks the runtime; `emit` takes a batch of [time, sample]."""

    def __init__(
        self, interval: float, send: float, sample: Callable[[], Usage | None], emit: Callable[[list[Any]], None]
    ) -> None:
        self._interval = interval
        self._send = send
        self._sample = sample
        self._emit = emit
        self._samples: list[Any] = []
        self._next = time.monotonic()
        self._send_at = time.monotonic() + send

    def tick(self) -> None:
        """Take or send what is due. An engine that is away costs the sample only."""
        moment = time.monotonic()
        if moment >= self._next:
            self._next = moment + self._interval
            self._take()
        if moment >= self._send_at or len(self._samples) >= MAX_KEPT:
            self.flush()

    def flush(self) -> None:
        """Send what there is."""
        self._send_at = time.monotonic() + self._send
        if self._samples:
            self._emit(self._samples)
            self._samples = []

    def _take(self) -> None:
        try:
            usage = self._sample()
        except (ContainerRuntimeError, LookupError):
            return
        if usage is not None:
            self._samples.append([now(), {name: _plain(value) for name, value in asdict(usage).items()}])


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
