"""What every process does at its start: structured logs, signals."""

from __future__ import annotations

import logging
import signal
import sys
import threading

import structlog


def configure_logs() -> None:
    """JSON lines on standard error."""
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(message)s")
    # It would write whole addresses, signatures and all.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


def stop_event() -> threading.Event:
    """Set when the process is asked to end."""
    event = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: event.set())
    return event
