"""Whether `web` answers is asked where it listens, whatever its public name leads to."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from controlplane.embedded.ready import web_answers
from controlplane.settings import Settings
from worker_bootstrap.hosting.authority import Authority


class Ready(BaseHTTPRequestHandler):
    """Answers as `web` does."""

    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/readyz" else 404)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        return


@pytest.fixture
def server() -> Iterator[HTTPServer]:
    with HTTPServer(("127.0.0.1", 0), Ready) as made:
        yield made


def served(server: HTTPServer) -> int:
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_port


def test_behind_a_proxy_and_on_every_address(server: HTTPServer, tmp_path: Path) -> None:
    port = served(server)
    behind = Settings(home=tmp_path, bind="0.0.0.0", port=port, public_url="https://remora.invalid")
    assert web_answers(behind)
    assert web_answers(behind, f"http://127.0.0.1:{port}")
    assert not web_answers(behind, "http://127.0.0.1:1")
    server.shutdown()


def test_a_certificate_of_ones_own_for_the_public_name(server: HTTPServer, tmp_path: Path) -> None:
    pair = Authority(tmp_path, "of the test").server(["remora.invalid"])
    certificate, key = tmp_path / "server.pem", tmp_path / "server.key"
    certificate.write_text(pair.certificate)
    key.write_text(pair.key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    port = served(server)

    def settings(name: str) -> Settings:
        files = {"tls_certificate": certificate, "tls_key": key}
        return Settings(home=tmp_path, bind="0.0.0.0", port=port, public_url=f"https://{name}", **files)

    assert web_answers(settings("remora.invalid"))
    assert not web_answers(settings("another.invalid"))
    server.shutdown()
