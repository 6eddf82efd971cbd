"""The loops: joins, dispatcher, sender, consumer, keeper, chores. Each is led through a lease of its own."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import structlog
from sqlalchemy import select
from sqlalchemy.exc import DBAPIError

from controlplane.chores.queue import ChoreQueue
from controlplane.chores.registry import KINDS
from controlplane.chores.relay import ChoreRelay
from controlplane.clock import utc_now
from controlplane.data.stores.opening import StoreOpener
from controlplane.data.stores.registry import StoreRegistry
from controlplane.db.ids import uuid7
from controlplane.db.session import SYSTEM, Database, make_engine
from controlplane.dispatch.consumer import Consumer
from controlplane.dispatch.dispatcher import Dispatcher, running_by_project
from controlplane.dispatch.joins import Joins
from controlplane.dispatch.keeper import Keeper
from controlplane.dispatch.keys import KeyRing
from controlplane.dispatch.leases import LeaseKeeper
from controlplane.dispatch.led import Bell, LedLoop
from controlplane.dispatch.logins import LoginDesk
from controlplane.dispatch.queue import QueueError, QueueProvider
from controlplane.dispatch.sender import Sender
from controlplane.dispatch.slow import SlowAnswers
from controlplane.dispatch.waiting import WaitingReasons
from controlplane.doorbell import listen
from controlplane.environments.models import Installation
from controlplane.environments.opening import open_references
from controlplane.processes.common import configure_logs, stop_event
from controlplane.security.signing import derive
from controlplane.security.vault import Vault
from controlplane.settings import Settings

log = structlog.get_logger()
LOOK_FOR_INSTALLATIONS = 5.0
REASONS_EVERY = 2.0
DRAIN = 30.0
# Nothing is lost with an answer that a store keeps back: its worker asks again.
DRAIN_SLOW = 5.0

Work = Callable[[LeaseKeeper], object]


@dataclass(frozen=True)
class Parts:
    """What the loops of every installation share."""

    settings: Settings
    db: Database
    vault: Vault
    keys: KeyRing
    queues: QueueProvider
    stores: StoreRegistry
    logins: LoginDesk
    password_key: bytes
    holder: str
    asked: Bell
    granted: Bell
    slow: SlowAnswers

    @property
    def block(self) -> float:
        """Longest wait for messages in one pass: well within the lease."""
        return min(1.0, self.settings.lease_ttl / 5)

    def loop(self, name: str, work: Work, pause: float, wake: threading.Event | None = None) -> LedLoop:
        """A led loop of this process."""
        ttl = self.settings.lease_ttl
        return LedLoop(name, LeaseKeeper(self.db, name, self.holder, ttl), work, pause, ttl / 3, wake)


def build_parts(settings: Settings) -> Parts:
    """The shared parts. Raises VaultError, OSError."""
    secret = (settings.keys_dir / "secret.key").read_bytes()
    vault = Vault(secret)
    stores = StoreRegistry(StoreOpener(settings, secret, utc_now).open)
    return Parts(
        settings=settings,
        db=Database(make_engine(settings.database_url.get_secret_value())),
        vault=vault,
        keys=KeyRing(vault),
        queues=QueueProvider(settings.queue_url.get_secret_value(), open_references(settings)),
        stores=stores,
        logins=LoginDesk(vault, settings, utc_now),
        password_key=derive(secret, "queue-password"),
        asked=Bell(),
        granted=Bell(),
        slow=SlowAnswers(),
        holder=f"{socket.gethostname()[:20]}:{os.getpid()}:{uuid7()[-12:]}",
    )


def global_loops(parts: Parts) -> list[LedLoop]:
    """Loops that are one for the whole control plane."""
    dispatcher = Dispatcher(parts.db, parts.vault, parts.settings)
    reasons = WaitingReasons(parts.db, parts.settings)

    def grant(lease: LeaseKeeper) -> None:
        if dispatcher.run_pass(lease):
            parts.granted.ring()

    def explain(lease: LeaseKeeper) -> None:
        with parts.db.read(SYSTEM) as session:
            running = running_by_project(session)
        reasons.run_pass(lease, running)

    return [
        parts.loop("dispatcher", grant, parts.settings.dispatch_interval, parts.asked.sleeper()),
        parts.loop("reasons", explain, min(REASONS_EVERY, parts.settings.beat_interval)),
        *chore_loops(parts),
    ]


def chore_loops(parts: Parts) -> list[LedLoop]:
    """The loop that hands chores to RQ; without a Redis for them, chores wait and everything else goes on."""
    url = parts.settings.chores.get_secret_value()
    if not url:
        log.warning("chores_wait", why="no Redis for chores is set (REMORA_CHORES)")
        return []
    relay = ChoreRelay(parts.db, ChoreQueue(url), parts.settings, KINDS)
    return [parts.loop("chores", relay.run_pass, parts.settings.chores_interval)]


def installation_loops(parts: Parts, installation: Installation) -> list[LedLoop]:
    """Loops of one installation. Raises QueueError when its queue has no usable address."""
    settings, key = parts.settings, installation.id
    queue = parts.queues.get(installation)
    joins = Joins(
        queue,
        parts.vault,
        parts.keys,
        key,
        parts.password_key,
        {"beat_interval": settings.beat_interval},
        settings.max_attempts,
    )
    consumer = Consumer(parts.db, queue, parts.keys, parts.stores, parts.logins, key, settings, parts.slow)
    sender = Sender(parts.db, queue, parts.keys, key, settings.grant_resend_after)
    keeper = Keeper(parts.db, queue, key, settings)
    return [
        parts.loop(f"joins:{key}", lambda lease: joins.run_pass(lease, parts.block), 0.02),
        parts.loop(f"consumer:{key}", lambda lease: consumer.run_pass(lease, parts.block), 0.0),
        parts.loop(f"sender:{key}", sender.run_pass, settings.dispatch_interval, parts.granted.sleeper()),
        parts.loop(f"keeper:{key}", keeper.run_pass, min(5.0, settings.silent_after / 6)),
    ]


class Loops:
    """Starts the loops, also those of installations that are imported later, and ends them all."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._known: set[str] = set()
        self._threads: list[threading.Thread] = []
        self._loops: list[LedLoop] = []

    def run(self, stop: threading.Event) -> None:
        """Until `stop` is set; then what is being done is finished, at most for 30 s."""
        ready = self._parts.settings.run_dir / "loops.ready"
        ready.unlink(missing_ok=True)
        self._start(global_loops(self._parts), stop)
        threading.Thread(target=self._hear, args=(stop,), name="doorbell", daemon=True).start()
        is_ready = False
        while not stop.is_set():
            self._look_for_installations(stop)
            if not is_ready and all(loop.tried.wait(0.2) for loop in self._loops):
                ready.write_text(str(os.getpid()))
                log.info("loops_ready", loops=len(self._loops))
                is_ready = True
            stop.wait(LOOK_FOR_INSTALLATIONS if is_ready else 0.2)
        self._wake()
        until = time.monotonic() + DRAIN
        for thread in self._threads:
            thread.join(timeout=max(0.0, until - time.monotonic()))
        unfinished = self._parts.slow.drain(min(DRAIN_SLOW, max(0.0, until - time.monotonic())))
        ready.unlink(missing_ok=True)
        log.info("loops_ended", unfinished=unfinished + sum(thread.is_alive() for thread in self._threads))

    def _hear(self, stop: threading.Event) -> None:
        try:
            listen(self._parts.settings.run_dir, self._wake, stop)
        except OSError as error:
            log.warning("doorbell_is_deaf", why=str(error), then="loops look every dispatch_interval")

    def _wake(self) -> None:
        self._parts.asked.ring()
        self._parts.granted.ring()

    def _look_for_installations(self, stop: threading.Event) -> None:
        # Without the database there is nothing to start; the next look comes soon.
        with suppress(DBAPIError), self._parts.db.read(SYSTEM) as session:
            found = list(session.scalars(select(Installation).order_by(Installation.created_at)))
            for installation in found:
                if installation.id in self._known:
                    continue
                try:
                    loops = installation_loops(self._parts, installation)
                except QueueError as error:
                    log.error("installation_without_queue", installation=installation.name, why=str(error))
                    continue
                self._known.add(installation.id)
                self._start(loops, stop)

    def _start(self, loops: list[LedLoop], stop: threading.Event) -> None:
        for loop in loops:
            thread = threading.Thread(target=loop.run, args=(stop,), name=loop.name, daemon=True)
            thread.start()
            self._threads.append(thread)
            self._loops.append(loop)


def main() -> None:
    """Run until asked to end."""
    configure_logs()
    stop = stop_event()
    Loops(build_parts(Settings())).run(stop)  # pyright: ignore[reportCallIssue]


if __name__ == "__main__":
    main()
