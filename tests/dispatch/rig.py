"""A real Redis with the embedded form's users, a database with one installation, and the loops as threads."""

from __future__ import annotations

import os
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import redis
from pydantic import SecretStr
from sqlalchemy import select

from controlplane.clock import utc_now
from controlplane.db.session import SYSTEM, Database
from controlplane.dispatch.keys import make_key
from controlplane.embedded.redis import chores_acl
from controlplane.environments.models import Worker, WorkerGroup
from controlplane.executions.models import Attempt, Execution
from controlplane.processes.loops import Loops, Parts, build_parts
from controlplane.security.vault import Vault
from controlplane.settings import Settings
from dispatch.fake_worker import FakeWorker
from fixtures.executions import Ground
from worker_bootstrap.protocol import names
from worker_bootstrap.protocol.crypto import password_hash

PASSWORDS = {name: f"{name}-" + "p" * 24 for name in ("master", "join", "chores", "admin")}


class RedisServer:
    """redis-server on a loopback port of its own; `restart` keeps the port and, with its file, the users."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.users = [
            "user default reset off",
            f"user master {' '.join(names.master_acl(password_hash(PASSWORDS['master'])))}",
            f"user join {' '.join(names.join_acl(password_hash(PASSWORDS['join'])))}",
            f"user chores {' '.join(chores_acl(password_hash(PASSWORDS['chores'])))}",
            f"user admin on #{password_hash(PASSWORDS['admin'])} ~* &* +@all",
        ]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def url(self, user: str) -> str:
        return f"redis://{user}:{PASSWORDS[user]}@127.0.0.1:{self.port}/0"

    def admin(self) -> Any:
        return redis.Redis.from_url(self.url("admin"), socket_timeout=5)

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        (self.folder / "users.acl").write_text("\n".join(self.users) + "\n")
        command = ["redis-server", "--bind", "127.0.0.1", "--port", str(self.port), "--save", "", "--dir"]
        command += [str(self.folder), "--aclfile", str(self.folder / "users.acl"), "--appendonly", "no"]
        log = (self.folder / "log").open("ab")
        self._process = subprocess.Popen(command, stdout=log, stderr=log)
        until = time.monotonic() + 10
        while True:
            try:
                self.admin().ping()
                return
            except redis.RedisError:
                assert time.monotonic() < until, (self.folder / "log").read_text()
                time.sleep(0.02)

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def restart(self) -> None:
        """Everything that was in it is gone, users that were made later too."""
        self.stop()
        self.start()


class Rig:
    """What a test of the loops needs; `ground` is B's world, whose own worker is away."""

    def __init__(self, ground: Ground, server: RedisServer, settings: Settings) -> None:
        self.ground = ground
        self.server = server
        self.settings = settings
        self.db: Database = ground.database
        self.parts: Parts = build_parts(settings)
        self.workers: list[FakeWorker] = []
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        self._stop = threading.Event()
        self._thread = threading.Thread(target=Loops(self.parts).run, args=(self._stop,), daemon=True)
        self._thread.start()
        self.until(lambda: (self.settings.run_dir / "loops.ready").exists(), "the loops")

    def stop(self) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join(30)
            assert not self._thread.is_alive()

    def worker(self, *, joined: bool = True, **fields: Any) -> FakeWorker:
        made = FakeWorker(self.server.address, PASSWORDS["join"])
        for name, value in fields.items():
            setattr(made, name, value)
        if joined:
            reply = made.join()
            assert not reply.error, reply.error
            made.hello()
            made.beat()
        self.workers.append(made)
        return made

    def execution(self, **values: Any) -> str:
        with self.db.begin(SYSTEM) as session:
            now = utc_now()
            return self.ground.add_execution(session, **{"queued_at": now, "created_at": now, **values}).id

    def look(self, execution: str) -> Execution:
        with self.db.read(SYSTEM) as session:
            return session.get_one(Execution, execution)

    def attempts(self, execution: str) -> list[Attempt]:
        with self.db.read(SYSTEM) as session:
            query = select(Attempt).where(Attempt.execution_id == execution).order_by(Attempt.number)
            return list(session.scalars(query))

    def worker_row(self, worker: str) -> Worker:
        with self.db.read(SYSTEM) as session:
            return session.get_one(Worker, worker)

    def until(self, wanted: Callable[[], Any], what: str, timeout: float = 10.0) -> Any:
        end = time.monotonic() + timeout
        while not (found := wanted()):
            assert time.monotonic() < end, f"waited {timeout} s in vain for {what}"
            time.sleep(0.02)
        return found

    def state(self, execution: str, *states: str, timeout: float = 10.0) -> Execution:
        """The execution once it is in one of these states."""
        return self.until(
            lambda: row if (row := self.look(execution)).state in states else None,
            f"{states}; it is {self.look(execution).state}",
            timeout,
        )

    def beating(self, worker: FakeWorker, attempts: Callable[[], list[str]] = list) -> Any:
        """Beats in a thread for as long as the block lasts."""
        return _beating(worker, attempts, self.settings.beat_interval)


@contextmanager
def _beating(worker: FakeWorker, attempts: Callable[[], list[str]], interval: float) -> Iterator[None]:
    stop = threading.Event()

    def run() -> None:
        while not stop.wait(interval):
            with suppress(redis.RedisError):
                worker.beat(*attempts())

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(5)


def make_settings(home: Path, database_url: str, queue_url: str, chores_url: str, **changes: Any) -> Settings:
    """Time-outs at 1/20, but for the lease."""
    for folder in ("keys", "run", "log", "stores"):
        (home / folder).mkdir(parents=True, exist_ok=True)
    if not (home / "keys" / "secret.key").exists():
        (home / "keys" / "secret.key").write_bytes(os.urandom(32))
    values: dict[str, Any] = {
        "home": home,
        "database_url": SecretStr(database_url),
        "queue_url": SecretStr(queue_url),
        "chores": SecretStr(chores_url),
        "public_url": "http://remora.test:8765",
        "beat_interval": 0.25,
        "silent_after": 1.5,
        "lost_after": 3.0,
        "lease_ttl": 1.5,
        "dispatch_interval": 0.02,
        "grant_resend_after": 0.3,
        "retry_pause": 0.2,
        **changes,
    }
    return Settings(**values)


def furnish(ground: Ground, settings: Settings) -> None:
    """A signing key, a join secret, and the row of the worker that is not there taken away."""
    vault = Vault.from_file(settings.keys_dir / "secret.key")
    with ground.begin() as session:
        make_key(session, vault, utc_now, ground.installation)
        group = session.get_one(WorkerGroup, ground.group)
        group.join_secret = vault.encrypt("j" * 32, f"join-secret:{ground.group}")
        away = session.get_one(Worker, ground.worker)
        away.state, away.left_at = "left", utc_now()
