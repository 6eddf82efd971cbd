"""The line keeper: one small process per attempt, outliving the agent, sole writer of the spool.

It is led by files in the attempt's log folder, which any agent can write: `status` (lines to add), `attach`
(container id), `finish` (end when the container's output has ended). Secrets to hide come on standard input.
"""

from __future__ import annotations

import argparse
import json
import os
import select
import struct
import sys
import time
from pathlib import Path
from typing import Any

import docker

from worker_bootstrap.agent.logs.lines import LineSplitter, Masker
from worker_bootstrap.agent.logs.spool import SpoolReader, SpoolWriter

STREAMS = {1: "stdout", 2: "stderr"}
POLL = 0.05
PARTIAL_AFTER = 1.0


class Keeper:
    """Holds the attach stream and writes the spool."""

    def __init__(self, folder: Path, engine: str, secrets: list[str], limit: int) -> None:
        self._folder = folder
        self._engine = engine
        self._masker = Masker(secrets)
        self._limit = limit
        self._writer = SpoolWriter(folder / "spool.jsonl")
        self._status = SpoolReader(folder / "status", self._status_offset())
        self._socket: Any = None
        self._buffer = b""
        self._splitters = {name: LineSplitter() for name in STREAMS.values()}
        self._quiet_since = time.monotonic()
        self._ended = False

    def run(self) -> None:
        """Until `finish` is there and the container's output has ended."""
        while True:
            self._take_status()
            self._take_attach()
            if self._socket is not None:
                self._pump()
            else:
                time.sleep(POLL)
            done = (self._folder / "finish").exists() and (self._socket is None)
            if done and not self._status_left():
                break
        self._flush()
        (self._folder / "done").touch()

    def _status_offset(self) -> int:
        marker = self._folder / "status.offset"
        return int(marker.read_text()) if marker.exists() else 0

    def _status_left(self) -> bool:
        path = self._folder / "status"
        return path.exists() and path.stat().st_size > self._status.offset

    def _take_status(self) -> None:
        block = self._status.read()
        if block:
            self._writer.write([("status", json.loads(raw)) for raw in block.splitlines()])
            (self._folder / "status.offset").write_text(str(self._status.offset))

    def _take_attach(self) -> None:
        marker = self._folder / "attach"
        if self._socket is not None or self._ended or not marker.exists():
            return
        again = (self._folder / "attached").exists()
        container = marker.read_text()
        client = docker.APIClient(base_url=self._engine or None, timeout=30)
        try:
            params = {"stdout": 1, "stderr": 1, "stream": 1, "logs": 0}
            self._socket = client.attach_socket(container, params)
        except docker.errors.APIError:
            self._ended = True
            return
        if again:
            self._writer.write([("status", "The line keeper was started again; lines may be missing here.")])
        (self._folder / "attached").touch()

    def _pump(self) -> None:
        ready, _, _ = select.select([self._socket], [], [], POLL)
        if not ready:
            if time.monotonic() - self._quiet_since > PARTIAL_AFTER:
                self._flush()
            return
        data = os.read(self._socket.fileno(), 1 << 18)
        self._quiet_since = time.monotonic()
        if not data:
            self._socket.close()
            self._socket, self._ended = None, True
            self._flush()
            return
        self._buffer += data
        self._write(self._frames())
        self._hold_back()

    def _frames(self) -> list[tuple[str, bytes]]:
        lines: list[tuple[str, bytes]] = []
        position = 0
        while len(self._buffer) - position >= 8:
            kind, size = struct.unpack_from(">BxxxL", self._buffer, position)
            if len(self._buffer) - position - 8 < size:
                break
            stream = STREAMS.get(kind, "stdout")
            payload = self._buffer[position + 8 : position + 8 + size]
            lines.extend((stream, line) for line in self._splitters[stream].feed(payload))
            position += 8 + size
        self._buffer = self._buffer[position:]
        return lines

    def _flush(self) -> None:
        self._write([(name, line) for name, splitter in self._splitters.items() for line in splitter.flush()])

    def _write(self, lines: list[tuple[str, bytes]]) -> None:
        if lines:
            self._writer.write([(s, self._masker.hide(line).decode("utf-8", "replace")) for s, line in lines])

    def _hold_back(self) -> None:
        """Above the limit of the spool the container blocks, until the agent has shipped lines."""
        while self._pending() > self._limit:
            time.sleep(0.2)

    def _pending(self) -> int:
        shipped = self._folder / "shipped"
        size = (self._folder / "spool.jsonl").stat().st_size
        return size - (int(shipped.read_text() or 0) if shipped.exists() else 0)


def main() -> None:
    """Entry of the process."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--dir", type=Path, required=True)
    parser.add_argument("--engine", default="")
    parser.add_argument("--limit", type=int, default=20_000_000_000)
    arguments = parser.parse_args()
    secrets = json.loads(sys.stdin.readline() or "[]")
    (arguments.dir / "keeper.pid").write_text(str(os.getpid()))
    Keeper(arguments.dir, arguments.engine, secrets, arguments.limit).run()


if __name__ == "__main__":
    main()
