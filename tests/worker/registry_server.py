"""A registry with one small image, made here; it can be told to misbehave, or to want a login (`user:password`)."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import tarfile
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
CONFIG = "application/vnd.docker.container.image.v1+json"
LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"


class RegistryServer:
    """`HOST:PORT/small:TAG` for every tag; each server's image is another one, so no engine has it already."""

    def __init__(self, content: bytes) -> None:
        self.requests: Counter[str] = Counter()
        self.status = 0
        self.slow = 0.0
        self.login = ""
        self.blobs: dict[str, bytes] = {}
        layer = _layer(content)
        config = {
            "architecture": "amd64",
            "os": "linux",
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": [_digest(layer)]},
        }
        packed = gzip.compress(layer, mtime=0)
        raw = json.dumps(config).encode()
        self.manifest = json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": MANIFEST,
                "config": {"mediaType": CONFIG, "size": len(raw), "digest": self._add(raw)},
                "layers": [{"mediaType": LAYER, "size": len(packed), "digest": self._add(packed)}],
            }
        ).encode()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    @property
    def image(self) -> str:
        """Without a tag."""
        return f"127.0.0.1:{self._server.server_address[1]}/small"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _add(self, data: bytes) -> str:
        self.blobs[_digest(data)] = data
        return _digest(data)


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _basic(login: str) -> str:
    return f"Basic {base64.b64encode(login.encode()).decode()}"


def _layer(content: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        member = tarfile.TarInfo("content")
        member.size = len(content)
        tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def _handler(registry: RegistryServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            kind = next((word for word in ("manifests", "blobs") if f"/{word}/" in self.path), "ping")
            registry.requests[f"{self.command} {kind}"] += 1
            if registry.login and self.headers.get("Authorization", "") != _basic(registry.login):
                error = {"errors": [{"code": "UNAUTHORIZED", "message": "authentication required"}]}
                self._answer(401, json.dumps(error).encode(), "application/json")
            elif kind == "ping":
                self._answer(200, b"{}", "application/json")
            elif registry.status:
                error = {"errors": [{"code": "MANIFEST_UNKNOWN", "message": "manifest unknown"}]}
                self._answer(registry.status, json.dumps(error).encode(), "application/json")
            elif kind == "manifests":
                self._answer(200, registry.manifest, MANIFEST)
            else:
                data = registry.blobs[self.path.rpartition("/")[2]]
                self._answer(200, data, "application/octet-stream")

        do_HEAD = do_GET  # noqa: N815

        def _answer(self, status: int, data: bytes, kind: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(data)))
            self.send_header("Docker-Content-Digest", _digest(data))
            if status == 401:
                self.send_header("WWW-Authenticate", 'Basic realm="test"')
            self.end_headers()
            if self.command == "HEAD":
                return
            for start in range(0, len(data), 1 << 20):
                self.wfile.write(data[start : start + (1 << 20)])
                time.sleep(registry.slow)

        def log_message(self, format: str, *args: Any) -> None:
            return

    return Handler
