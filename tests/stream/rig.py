"""The real stream application over a real Redis, and an agent's hand: pushing lines, storing segments, ending."""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
import threading
import time
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

import httpx
import uvicorn

from controlplane.clock import utc_now
from controlplane.data.stores.folder import FolderStore
from controlplane.data.stores.registry import StoreRegistry
from controlplane.executions.events import log_key
from controlplane.executions.models import Attempt, Execution
from controlplane.logs.models import LogSegment
from controlplane.processes.stream import build
from controlplane.settings import Settings
from controlplane.stream.tickets import Tickets
from dispatch.rig import RedisServer, make_settings
from fixtures.executions import NOW, SIGNING_KEY, Ground
from fixtures.follower import Follower
from worker_bootstrap.agent.logs.tail import RedisTail
from worker_bootstrap.protocol import codec, crypto, names

QUICK: dict[str, Any] = {
    "stream_watch_interval": 0.05,
    "stream_heartbeat": 0.75,
    "stream_gap_patience": 3.0,
    "stream_stall_timeout": 3.0,
}


def line(seq: int, message: str = "") -> list[Any]:
    return [seq, f"2026-03-01T12:00:00.{seq % 1_000_000:06d}", "stdout", message or f"line {seq}"]


def numbered(first: int, last: int) -> list[str]:
    return [f"line {seq}" for seq in range(first, last + 1)]


class Served:
    """The application on a loopback port, in a thread."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.failed: list[str] = []
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.settings.stream_port}"

    def start(self) -> None:
        self._hub, app = build(self.settings, lambda: self.failed.append("failed"))
        config = uvicorn.Config(
            app,
            host="127.0.0.1",
            port=self.settings.stream_port,
            loop="asyncio",
            log_config=None,
            timeout_graceful_shutdown=2,
        )
        server = self._server = uvicorn.Server(config)

        async def serve() -> None:
            self._loop = asyncio.get_running_loop()
            await server.serve()

        self._thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
        self._thread.start()
        until = time.monotonic() + 10
        while not server.started:
            assert time.monotonic() < until
            time.sleep(0.01)

    def stop(self) -> None:
        """End it, viewers too."""
        assert self._server is not None and self._thread is not None
        self._loop.call_soon_threadsafe(self._hub.end)
        self._server.should_exit = True
        self._thread.join(10)
        assert not self._thread.is_alive()
        assert not self.failed


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@dataclass
class Live:
    """One execution with attempts, and who looks at it."""

    ground: Ground
    redis: RedisServer
    settings: Settings
    execution: str = ""
    attempt: str = ""
    served: Served | None = None
    followers: list[Follower] = field(default_factory=list)

    def __post_init__(self) -> None:
        with self.ground.begin() as session:
            self.execution = self.ground.add_execution(session, state="started").id
        self.tickets = Tickets(
            (self.settings.keys_dir / "secret.key").read_bytes(), self.settings.stream_ticket_ttl, utc_now
        )
        self.registry = StoreRegistry(
            lambda row: FolderStore.from_row(row, self.settings.public_url, b"k" * 32, 900, utc_now)
        )
        self.served = Served(self.settings)

    def close(self) -> None:
        for follower in self.followers:
            follower.stop()
        if self.served is not None:
            self.served.stop()

    # ---- what the control plane does
    def grant(self, **values: Any) -> str:
        """The next attempt."""
        with self.ground.begin() as session:
            row = session.get_one(Execution, self.execution)
            self.attempt = self.ground.add_attempt(session, row, **{"state": "running", **values}).id
        return self.attempt

    def end(self, lines: int, state: str = "complete", *, complete: bool = True) -> None:
        """The attempt has ended, and (`state`) the execution."""
        with self.ground.begin() as session:
            row = session.get_one(Attempt, self.attempt)
            row.state, row.log_lines, row.log_complete = "ended", lines, complete
            if state:
                session.get_one(Execution, self.execution).state = state

    def set_state(self, state: str) -> None:
        with self.ground.begin() as session:
            session.get_one(Execution, self.execution).state = state

    # ---- what the agent does
    def say(self, first: int, last: int, text: str = "", key: crypto.SigningKey = SIGNING_KEY, keep: int = 1) -> None:
        """Push lines to the tail, from which those before `keep` go."""
        tail = RedisTail(self.redis.admin, names.tail(self.ground.worker, self.attempt), key)
        made = [line(seq, text and f"{text} {seq}") for seq in range(first, last + 1)]
        tail.push(last, codec.encode_lines(made), keep)

    def store(self, first: int, last: int, *, lost: bool = False) -> None:
        """A segment; `lost`: its object is not there."""
        raw = b"".join(json.dumps(line(seq)).encode() + b"\n" for seq in range(first, last + 1))
        data = gzip.compress(raw)
        with self.ground.begin() as session:
            attempt = session.get_one(Attempt, self.attempt)
            key = log_key(attempt, session, f"{first:020d}.gz")
            if not lost:
                store = self.registry.find(session, self.ground.installation, "logs")[1]
                store.put_stream(key, BytesIO(data), len(data))  # type: ignore[attr-defined]
            session.add(
                LogSegment(
                    organization_id=self.ground.organization,
                    attempt_id=attempt.id,
                    first=first,
                    last=last,
                    lines=last - first + 1,
                    size=len(data),
                    raw_bytes=len(raw),
                    sha256="",
                    key=key,
                    counts={},
                    first_time="",
                    last_time="",
                    created_at=NOW,
                )
            )

    # ---- who looks
    @property
    def url(self) -> str:
        assert self.served is not None
        return self.served.url

    def ticket(self) -> str:
        return self.tickets.make(self.execution, self.ground.organization)

    def follow(self, last: str = "") -> Follower:
        made = Follower(self.url, self.execution, self.ticket, last)
        self.followers.append(made)
        return made.start()

    def get(self, path: str = "", **headers: str) -> httpx.Response:
        """A request whose answer is read whole: for refusals."""
        address = f"{self.url}{path or f'/stream/executions/{self.execution}/log'}"
        return httpx.get(address, headers=headers, timeout=10, trust_env=False)


def live_settings(home: Any, database_url: str, server: RedisServer, **changes: Any) -> Settings:
    values = {**QUICK, "stream_port": free_port(), **changes}
    return make_settings(home, database_url, server.url("master"), server.url("chores"), **values)
