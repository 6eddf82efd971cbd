"""A reader of the live stream, as the browser's page is one."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import httpx
from httpx_sse import connect_sse

from fixtures.stack import Stack


def follow(stack: Stack, execution: str, timeout: float) -> Iterator[tuple[float, str]]:
    """(when it came in seconds since the epoch, message) of each line of standard output. Ends with the log."""
    with stack.api() as api:
        url = f"{stack.url}/api/v1/executions/{execution}/stream-ticket/"
        ticket = api.post(url).raise_for_status().json()["ticket"]
    headers = {"Authorization": f"Ticket {ticket}"}
    address = f"{stack.url}/stream/executions/{execution}/log"
    with (
        httpx.Client(timeout=timeout, trust_env=False) as client,
        connect_sse(client, "GET", address, headers=headers) as source,
    ):
        for event in source.iter_sse():
            arrived = time.time()
            if event.event == "end":
                return
            if event.event == "line":
                for _, _, stream, message in json.loads(event.data):
                    if stream == "stdout":
                        yield arrived, message
