"""The agent's own log: one line an event on standard error; never a secret, never a signed address."""

from __future__ import annotations

import logging
import sys
import time
from urllib.parse import urlsplit

logger = logging.getLogger("remora.agent")


def configure() -> None:
    """Lines with UTC times on standard error, for the journal or a file."""
    handler = logging.StreamHandler(sys.stderr)
    formatter = logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%Y-%m-%dT%H:%M:%SZ")
    formatter.converter = time.gmtime
    handler.setFormatter(formatter)
    logger.handlers = [handler]
    logger.setLevel(logging.INFO)
    logger.propagate = False


def shown_url(url: str) -> str:
    """An address without login, query and fragment: signatures don't belong into messages."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.scheme}://{host}{port}{parts.path}"
