"""The stream process: live logs for all viewers, on the loopback; `web` or a proxy passes `/stream/` on to it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from types import FrameType

import uvicorn
from starlette.types import ASGIApp

from controlplane.clock import utc_now
from controlplane.data.stores.opening import StoreOpener
from controlplane.data.stores.registry import StoreRegistry
from controlplane.db.session import Database, make_engine
from controlplane.dispatch.queue import QueueProvider
from controlplane.environments.opening import open_references
from controlplane.logs.service import LogReader
from controlplane.processes.common import configure_logs
from controlplane.settings import Settings
from controlplane.stream.app import create_app
from controlplane.stream.hub import Hub
from controlplane.stream.sources import Sources
from controlplane.stream.tickets import Tickets

HOST = "127.0.0.1"
DRAIN = 2


class Server(uvicorn.Server):
    """Lets viewers go when it is asked to end; ends by itself, with an error, when a part breaks."""

    def __init__(self, settings: Settings) -> None:
        self.failed = False
        self._hub, app = build(settings, self._fail)
        super().__init__(
            uvicorn.Config(
                app,
                host=HOST,
                port=settings.stream_port,
                loop="asyncio",
                http="h11",
                ws="none",
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                timeout_graceful_shutdown=DRAIN,
            )
        )

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """A signal came: viewers go first, so that nothing is waited for."""
        super().handle_exit(sig, frame)
        asyncio.get_running_loop().call_soon_threadsafe(self._hub.end)

    def _fail(self) -> None:
        self.failed = self.should_exit = True
        self._hub.end()


def build(settings: Settings, on_failure: Callable[[], None]) -> tuple[Hub, ASGIApp]:
    """The parts, wired. Raises OSError without the secret key."""
    secret = (settings.keys_dir / "secret.key").read_bytes()
    stores = StoreRegistry(StoreOpener(settings, secret, utc_now).open)
    queue_url = settings.queue_url.get_secret_value()
    references = open_references(settings)
    logs = LogReader(stores, QueueProvider(queue_url, references))
    db = Database(make_engine(settings.database_url.get_secret_value()))
    hub = Hub(Sources(db, logs, queue_url, references), settings, on_failure)
    return hub, create_app(settings, Tickets(secret, settings.stream_ticket_ttl, utc_now), hub)


def main() -> None:
    """Serve until asked to end."""
    configure_logs()
    server = Server(Settings())  # pyright: ignore[reportCallIssue]
    server.run()
    sys.exit(1 if server.failed or not server.started else 0)


if __name__ == "__main__":
    main()
