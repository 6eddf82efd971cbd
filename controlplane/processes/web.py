"""The web process: gunicorn with threads over the Flask application."""

from __future__ import annotations

import os
from typing import Any

from flask import Flask
from gunicorn.app.base import BaseApplication
from gunicorn.workers.base import Worker

from controlplane.processes.common import configure_logs
from controlplane.settings import Settings
from controlplane.web.app import create_app
from controlplane.web.lanes import Lanes
from controlplane.web.services import build_services


class _Server(BaseApplication):
    """gunicorn, configured from our settings only."""

    def __init__(self, app: Flask, options: dict[str, Any]) -> None:
        self._app = app
        self._options = options
        super().__init__()

    def load_config(self) -> None:
        for name, value in self._options.items():
            self.cfg.set(name, value)

    def load(self) -> Any:
        return self._app


class UnsafeBindError(RuntimeError):
    """Listening beyond the loopback without TLS needs an explicit word."""


def check_bind(settings: Settings) -> None:
    """Raise UnsafeBindError for an address beyond the loopback without TLS."""
    local = settings.bind.startswith("127.") or settings.bind in ("localhost", "::1")
    if not (local or settings.tls_certificate or settings.allow_plain_http):
        raise UnsafeBindError(
            f"REMORA_BIND={settings.bind} without TLS: set REMORA_TLS_CERTIFICATE and REMORA_TLS_KEY, "
            "or REMORA_ALLOW_PLAIN_HTTP=true behind a proxy that ends TLS."
        )


def _is_ending(worker: Worker) -> bool:
    """Whether gunicorn's worker was asked to end, or has lost the process that leads it."""
    return not worker.alive or worker.ppid != os.getppid()


def main() -> None:
    """Serve until asked to end."""
    configure_logs()
    settings = Settings()  # pyright: ignore[reportCallIssue]
    check_bind(settings)
    options: dict[str, Any] = {
        "bind": f"{settings.bind}:{settings.port}",
        "workers": 1,
        "threads": settings.web_threads + settings.web_streams,
        "worker_class": "gthread",
        "timeout": 120,
        "graceful_timeout": 20,
        "worker_tmp_dir": str(settings.run_dir),
        "certfile": str(settings.tls_certificate) if settings.tls_certificate else None,
        "keyfile": str(settings.tls_key) if settings.tls_key else None,
        "control_socket_disable": True,
    }
    services = build_services(settings)
    # A worker that is to end finishes its requests first; who watches a log would keep it waiting.
    options["post_worker_init"] = lambda worker: services.streams.end_when(lambda: _is_ending(worker))
    app = create_app(services)
    app.wsgi_app = Lanes(app.wsgi_app, settings.web_threads)  # type: ignore[method-assign]
    _Server(app, {name: value for name, value in options.items() if value is not None}).run()


if __name__ == "__main__":
    main()
