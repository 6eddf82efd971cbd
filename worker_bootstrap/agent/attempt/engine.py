"""Calls of the runtime, with patience for an engine that is away and an end's reason for what it refuses."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from worker_bootstrap.agent import reasons
from worker_bootstrap.agent.attempt.errors import infrastructure_error, user_error
from worker_bootstrap.agent.backoff import Backoff
from worker_bootstrap.agent.runtime.base import (
    ContainerCreateError,
    ContainerRuntimeError,
    EngineGoneError,
    ImageDeniedError,
    ImageNotFoundError,
    PullError,
)

T = TypeVar("T")


class PatientEngine:
    """`pause` sleeps, and raises when the agent ends."""

    def __init__(self, patience: float, first_pause: float, pause: Callable[[float], None]) -> None:
        self._patience = patience
        self._first = first_pause
        self._pause = pause

    def call(self, function: Callable[[], T]) -> T:
        """The result of `function`. Raises AttemptError, LookupError."""
        deadline = 0.0
        backoff = Backoff(self._first, 5.0)
        while True:
            try:
                return function()
            except EngineGoneError as error:
                deadline = deadline or time.monotonic() + self._patience
                if time.monotonic() > deadline:
                    raise infrastructure_error(reasons.ENGINE_GONE, str(error)) from error
            except ImageNotFoundError as error:
                raise user_error(reasons.IMAGE_NOT_FOUND, str(error)) from error
            except ImageDeniedError as error:
                raise user_error(
                    reasons.IMAGE_DENIED if error.with_login else reasons.IMAGE_WITHOUT_LOGIN, str(error)
                ) from error
            except PullError as error:
                raise infrastructure_error(reasons.IMAGE_PULL_FAILED, str(error)) from error
            except ContainerCreateError as error:
                raise user_error(reasons.ENGINE_ERROR, str(error)) from error
            except ContainerRuntimeError as error:
                raise infrastructure_error(reasons.ENGINE_ERROR, str(error)) from error
            self._pause(backoff.next())
