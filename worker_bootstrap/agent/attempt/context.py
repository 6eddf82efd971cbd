"""What the steps of one attempt share."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import urllib3

from worker_bootstrap.agent import reasons
from worker_bootstrap.agent.attempt.controls import read_controls
from worker_bootstrap.agent.attempt.download import Address, Rules
from worker_bootstrap.agent.attempt.errors import AttemptError, HaltedError, infrastructure_error
from worker_bootstrap.agent.attempt.room import Reserve, check_room
from worker_bootstrap.agent.cache import Cache
from worker_bootstrap.agent.config import AgentConfig
from worker_bootstrap.agent.link import Link
from worker_bootstrap.agent.outbox import Outbox
from worker_bootstrap.agent.questions import Questions, UnansweredError
from worker_bootstrap.agent.runtime.base import Runtime
from worker_bootstrap.protocol import typed
from worker_bootstrap.protocol.job import Job
from worker_bootstrap.protocol.messages import Event, Relay, Stop, UrlItem

# What the master says of an address when its store does not answer it now.
STORE_AWAY = "unavailable"
STORE_AWAY_SENTENCE = "the store does not answer the control plane"


@dataclass(frozen=True)
class Tools:
    """What every attempt of this agent shares. `halted` is set when the agent ends.

    `open_sealed` (box, context) opens what was sealed to this machine.
    """

    home: Path
    config: AgentConfig
    link: Link
    outbox: Outbox
    questions: Questions
    runtime: Runtime
    open_sealed: Callable[[bytes, bytes], bytes]
    cache: Cache
    signed_http: urllib3.PoolManager
    input_http: urllib3.PoolManager
    halted: threading.Event
    reserve: Reserve


@dataclass(frozen=True)
class Secrets:
    """What was sealed in the job, opened; it is never written to disk."""

    env: dict[str, str]
    mask: list[str]
    relay_token: str


class Control:
    """Asked to stop, and how. Set by the inbox, read by the attempt's thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._request: Stop | None = None
        self.changed = threading.Event()

    def stop(self, request: Stop) -> bool:
        """Note a wish to stop; one with `kill` replaces one without. Whether anything changed."""
        with self._lock:
            if self._request is not None and (self._request.kill or not request.kill):
                return False
            self._request = request
        self.changed.set()
        return True

    @property
    def request(self) -> Stop | None:
        """The wish, if there is one."""
        return self._request


class Context:
    """One attempt's job, folders, and ways to speak."""

    def __init__(
        self, tools: Tools, job: Job, secrets: Secrets, control: Control, status: Callable[[str], None]
    ) -> None:
        self.tools = tools
        self.config = tools.config
        self.job = job
        self.secrets = secrets
        self.control = control
        self.status = status
        self.folder = attempt_folder(tools.home, job.attempt)
        self.controls, self.control_problems = read_controls({**job.env, **secrets.env})

    def alive(self) -> None:
        """Raise HaltedError when the agent ends, AttemptError when the attempt was asked to stop."""
        self.halt()
        request = self.control.request
        if request is not None:
            raise AttemptError("stopped", request.reason or reasons.STOPPED)

    def halt(self) -> None:
        """Raise HaltedError when the agent ends."""
        if self.tools.halted.is_set():
            raise HaltedError

    def pause(self, seconds: float) -> None:
        """Sleep; HaltedError when the agent ends meanwhile."""
        if self.tools.halted.wait(seconds):
            raise HaltedError

    def event(self, kind: str, data: dict[str, Any], key: str = "") -> None:
        """Something happened: kept on disk before this returns. The same `key` again is the same event."""
        body = typed.dumps(Event(kind, now(), data))
        self.tools.outbox.put("event", self.job.attempt, body, f"event:{key}" if key else "")

    def urls(self, items: list[UrlItem]) -> dict[str, UrlItem]:
        """Signed addresses. Raises AttemptError when nobody answers, HaltedError."""
        try:
            answers = self.tools.questions.urls(
                self.job.attempt, items, self.config.ask_patience, self.tools.halted.is_set
            )
        except UnansweredError as error:
            self.halt()
            raise infrastructure_error(reasons.QUEUE_AWAY, str(error)) from error
        return answers

    def relay(self, call: Relay, patience: float) -> Relay:
        """Carry a container's call. Raises UnansweredError."""
        return self.tools.questions.relay(self.job.attempt, call, patience, self.tools.halted.is_set)

    def address(self, purpose: str, name: str) -> tuple[Address | None, str]:
        """(where to read it, or None and why not)."""
        item = self.urls([UrlItem(name, purpose, name)]).get(name)
        if item is None or item.error or not item.url:
            return None, item.error if item is not None else "no answer"
        return Address(item.url, item.headers, item.by_user), ""

    def http(self, *, by_user: bool) -> urllib3.PoolManager:
        """The way to an address: where a user said where it leads, the rules for users' addresses count."""
        return self.tools.input_http if by_user else self.tools.signed_http

    @property
    def host_network(self) -> bool:
        """Whether the container has the machine's network: asked for by the user, and allowed by the group."""
        return self.controls.host_network and self.job.container.host_network

    def rules(self) -> Rules:
        """How downloads of this attempt behave."""
        config = self.config
        return Rules(
            patience=config.download_patience,
            part_bytes=config.part_bytes,
            parallel=config.parallel_downloads,
            first_pause=config.backoff_first,
            most_pause=config.backoff_most,
            alive=self.alive,
            room=lambda coming: check_room(self.folder, config.disk_floor, coming),
        )


def attempt_folder(home: Path, attempt: str) -> Path:
    """Where everything of an attempt is kept."""
    return home / "work" / attempt


def now() -> str:
    """UTC with microseconds."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
