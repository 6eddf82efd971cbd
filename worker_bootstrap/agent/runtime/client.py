"""The engine's API with its failures named."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeVar

import docker
import requests
from docker.errors import APIError, DockerException, NotFound

from worker_bootstrap.agent.runtime.base import ContainerRuntimeError, EngineGoneError

T = TypeVar("T")
DEFAULT_URL = "unix:///var/run/docker.sock"


class NotThereError(ContainerRuntimeError, LookupError):
    """The engine knows no such container, network or image."""


class RefusedError(ContainerRuntimeError):
    """The engine refused; `status` is HTTP's."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class EngineClient:
    """Connects at the first call, so that an engine that is away is an error of that call."""

    def __init__(self, url: str = "", timeout: float = 60.0) -> None:
        self.url = url or DEFAULT_URL
        self._timeout = timeout
        self._lock = threading.Lock()
        self._made: docker.APIClient | None = None

    def call(self, function: Callable[[docker.APIClient], T]) -> T:
        """What `function` returns. Raises EngineGoneError, NotThereError, RefusedError."""
        try:
            return function(self._client())
        except NotFound as error:
            raise NotThereError(explain(error)) from error
        except APIError as error:
            raise RefusedError(explain(error), int(error.status_code or 0)) from error
        except (DockerException, requests.RequestException, OSError) as error:
            raise EngineGoneError(f"the engine at {self.url} does not answer: {error}") from error

    def _client(self) -> docker.APIClient:
        with self._lock:
            if self._made is None:
                self._made = docker.APIClient(base_url=self.url, version="auto", timeout=int(self._timeout))
            return self._made


def explain(error: APIError) -> str:
    """The engine's own sentence."""
    explanation: Any = error.explanation
    return explanation.decode() if isinstance(explanation, bytes) else str(explanation or error)
