"""Inputs and outputs: the agent's own download and upload of one large file against curl's, from and to one server."""

from __future__ import annotations

import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from benchmarks.table import Row, at_least
from worker_bootstrap.agent.attempt.digest import Digests
from worker_bootstrap.agent.attempt.download import Address, Download, Rules
from worker_bootstrap.agent.attempt.upload import put
from worker_bootstrap.agent.config import AgentConfig
from worker_bootstrap.agent.http import signed_client
from worker_bootstrap.protocol.messages import UrlItem

SIZE = 1 << 30
ROUNDS = 3
CHUNK = 1 << 20


def transfers() -> list[Row]:
    """Each way `ROUNDS` times in turn with curl, all checksums of the agent's counted."""
    with tempfile.TemporaryDirectory(prefix="remora-bytes-") as name, _server(Path(name)) as url:
        folder = Path(name)
        with (folder / "large").open("wb") as file:
            for _ in range(SIZE // CHUNK):
                file.write(os.urandom(CHUNK))
        get = f"{url}/large"
        large, put_to = folder / "large", f"{url}/put"
        return [
            _row("input", lambda: _fetch(get, folder / "in"), lambda: _curl(get, "-o", folder / "c")),
            _row("output", lambda: _store(put_to, large), lambda: _curl(put_to, "-T", large)),
        ]


def _row(what: str, ours: Callable[[], object], theirs: Callable[[], object]) -> Row:
    rates: dict[str, list[float]] = {"ours": [], "theirs": []}
    for _ in range(ROUNDS):
        for who, work in (("theirs", theirs), ("ours", ours)):
            began = time.perf_counter()
            work()
            rates[who].append(SIZE / (time.perf_counter() - began) / 1e6)
    ours_rate, curls = statistics.median(rates["ours"]), statistics.median(rates["theirs"])
    how = f"{ours_rate:,.0f} MB/s, 1 GiB with md5, sha1 and sha256; medians of {ROUNDS} in turn"
    return Row(f"{what}, of curl's rate", ours_rate / curls * 100, "%", how, f"curl {curls:,.0f} MB/s", at_least(90))


def _fetch(url: str, target: Path) -> Digests:
    config = _config()
    rules = Rules(
        patience=10.0,
        part_bytes=config.part_bytes,
        parallel=config.parallel_downloads,
        first_pause=1.0,
        most_pause=1.0,
        alive=lambda: None,
        room=lambda _: None,
    )
    client = signed_client(config)
    download = Download(lambda _: client, lambda: Address(url, {}), target, rules)
    download.run()
    return download.digests


def _store(url: str, source: Path) -> None:
    with source.open("rb") as file:
        status, digests = put(
            signed_client(_config()), UrlItem("1", "output", "large", method="PUT", url=url), file, SIZE
        )
    if status != 201 or digests.size != SIZE:
        raise RuntimeError(f"the upload ended with {status} after {digests.size} bytes")


def _config() -> AgentConfig:
    return AgentConfig(queue_url="", join_password="", join_secret="", group="", name="bench")


def _curl(url: str, option: str, file: Path) -> None:
    subprocess.run(["curl", "-sS", "--fail", "-H", "Expect:", option, str(file), url], check=True)


@contextmanager
def _server(folder: Path) -> Iterator[str]:
    """Address of a server of that folder, a process of its own."""
    command = [sys.executable, "-m", "benchmarks.agent_bytes", str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).resolve().parents[1])
    try:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
    finally:
        process.terminate()
        process.wait()


class _Handler(BaseHTTPRequestHandler):
    """GET with ranges by sendfile, PUT to the disk: little of its own, so that the clients' work shows."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        with Path(self.path[1:]).open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
            first, last = (int(asked[1]), min(int(asked[2]), size - 1)) if asked else (0, size - 1)
            self.send_response(206 if asked else 200)
            self.send_header("Content-Length", str(last - first + 1))
            self.send_header("Content-Range", f"bytes {first}-{last}/{size}")
            self.send_header("ETag", '"large"')
            self.end_headers()
            self.wfile.flush()
            while first <= last:
                first += os.sendfile(self.connection.fileno(), file.fileno(), first, last - first + 1)

    def do_PUT(self) -> None:
        left = int(self.headers["Content-Length"])
        buffer = memoryview(bytearray(CHUNK))
        with Path("put").open("wb") as file:
            while left and (count := self.rfile.readinto(buffer[: min(left, CHUNK)])):  # type: ignore[attr-defined]
                file.write(buffer[:count])
                left -= count
        self.send_response(201)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        return


def main() -> None:
    """Serve the folder that is named; the port is printed."""
    os.chdir(sys.argv[1])
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
    print(server.server_address[1], flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
