"""The loops: joins, dispatcher, consumer, keeper. Each is led through a lease of its own."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable

import structlog
from sqlalchemy.exc import OperationalError

from controlplane.clock import utc_now
from controlplane.data.stores.folder import FolderStore
from controlplane.data.stores.registry import StoreRegistry
from controlplane.db.session import Database, make_engine
from controlplane.dispatch.consumer import Consumer
from controlplane.dispatch.dispatcher import Dispatcher
from controlplane.dispatch.joins import Joins
from controlplane.dispatch.keys import KeyRing
from controlplane.dispatch.leases import LeaseKeeper, LeaseLostError, database_now
from controlplane.dispatch.lost import Keeper
from controlplane.dispatch.queue import Queue, QueueError
from controlplane.processes.common import configure_logs, stop_event
from controlplane.security.signing import derive
from controlplane.security.vault import Vault
from controlplane.settings import Settings
from worker_bootstrap.protocol import names

log = structlog.get_logger()
BLOCK = 1.0


class Loop:
    """Runs a pass again and again while this process leads, and tells why it can't."""

    def __init__(
        self, lease: LeaseKeeper, name: str, work: Callable[[LeaseKeeper], None], pause: float, renew: float
    ) -> None:
        self._lease = lease
        self._name = name
        self._work = work
        self._pause = pause
        self._renew = renew

    def run(self, stop: threading.Event) -> None:
        """Until `stop` is set."""
        leading_until = 0.0
        while not stop.is_set():
            pause = self._pause
            try:
                now = time.monotonic()
                if now >= leading_until:
                    leading = self._lease.acquire()
                    leading_until = now + self._renew if leading else 0.0
                    pause = self._pause if leading else self._renew
                if leading_until:
                    self._work(self._lease)
            except LeaseLostError:
                leading_until = 0.0
            except (QueueError, OperationalError) as error:
                log.warning("loop_waits", loop=self._name, why=str(error).splitlines()[0][:300])
                pause = 1.0
            except Exception:  # noqa: BLE001 - the edge of a loop: logged, and the loop goes on
                log.exception("loop_failed", loop=self._name)
                pause = 1.0
            stop.wait(pause)
        self._lease.release()


def build(settings: Settings) -> list[Loop]:
    """Every loop, wired."""
    secret = (settings.keys_dir / "secret.key").read_bytes()
    vault = Vault(secret)
    db = Database(make_engine(settings.database_url.get_secret_value()))
    url = settings.queue_url.get_secret_value()
    keys = KeyRing(vault)
    stores = StoreRegistry(
        lambda row: FolderStore.from_row(
            row, settings.public_url, derive(secret, "store-url"), settings.signed_url_ttl, utc_now
        )
    )
    worker_settings = {"beat_interval": settings.beat_interval}
    joins_queue = Queue(url)
    joins = Joins(joins_queue, vault, keys, worker_settings, settings.max_attempts)
    consumer = Consumer(Queue(url), keys, stores, settings.max_attempts)
    dispatcher = Dispatcher(Queue(url), vault, keys, settings)
    keeper = Keeper(Queue(url), settings)
    position = {"join": "0-0"}

    def join_pass(lease: LeaseKeeper) -> None:
        for entry_id, fields in joins_queue.read({names.JOIN_STREAM: position["join"]}, BLOCK).get(
            names.JOIN_STREAM, []
        ):
            with lease.begin() as session:
                joins.handle(session, fields, database_now(session))
            position["join"] = entry_id
            milliseconds, _, sequence = entry_id.partition("-")
            joins_queue.trim(names.JOIN_STREAM, f"{milliseconds}-{int(sequence) + 1}")

    def dispatcher_pass(lease: LeaseKeeper) -> None:
        dispatcher.run_pass(lease)

    passes: list[tuple[str, Callable[[LeaseKeeper], None], float]] = [
        ("joins", join_pass, 0.05),
        ("consumer", lambda lease: consumer.run_pass(lease, BLOCK), 0.0),
        ("dispatcher", dispatcher_pass, settings.dispatch_interval),
        ("keeper", keeper.run_pass, min(5.0, settings.silent_after / 6)),
    ]
    holder = f"{socket.gethostname()[:30]}:{os.getpid()}"
    return [
        Loop(LeaseKeeper(db, name, holder, settings.lease_ttl), name, work, pause, settings.lease_ttl / 3)
        for name, work, pause in passes
    ]


def main() -> None:
    """Run until asked to end."""
    configure_logs()
    stop = stop_event()
    loops = build(Settings())  # pyright: ignore[reportCallIssue]
    threads = [threading.Thread(target=loop.run, args=(stop,), daemon=True) for loop in loops]
    for thread in threads:
        thread.start()
    log.info("loops_ready")
    stop.wait()
    for thread in threads:
        thread.join(timeout=20)


if __name__ == "__main__":
    main()
