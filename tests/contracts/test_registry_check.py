"""A test of a credential says exactly what is wrong: on a real registry with users, and on its own kind of server."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from controlplane.net.fetching import Fetcher
from controlplane.net.reach import Reach
from controlplane.registries.checking import Checker
from controlplane.registries.login import Login, Opened, Verdict
from controlplane.registries.patterns import parse_pattern
from fixtures.image_registry import PASSWORD, USER, ImageRegistry, image_registry
from fixtures.stack import free_port
from worker_bootstrap.protocol.reach import parse_networks

pytestmark = pytest.mark.needs("registry")


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ImageRegistry]:
    with image_registry(tmp_path_factory.mktemp("registry")) as running:
        running.put_manifest("team/x", "1")
        yield running


def check(pattern: str, image: str = "", password: str = PASSWORD, *, allowed: str = "127.0.0.0/8") -> Verdict:
    networks = tuple(parse_networks([allowed])) if allowed else ()
    checker = Checker(lambda opened, host: Login(USER, password), Fetcher(Reach(networks)), 5.0)
    opened = Opened("1", 1, "o", "docker", parse_pattern(pattern), False, {"username": USER, "password": password})
    return checker.check(opened, image)


def test_an_image_that_can_be_pulled(registry: ImageRegistry) -> None:
    name = f"{registry.host}/team/x"
    found = check(f"{registry.host}/team/*", f"{name}:1")
    assert (found.ok, found.code, found.message) == (True, "ok", f"{name}:1 can be pulled.")
    assert check(f"{name}:1").message == f"{name}:1 can be pulled."
    only_login = check(f"{registry.host}/*")
    assert only_login.ok and only_login.message.startswith(f"{registry.host} takes the login.")


def test_a_wrong_password(registry: ImageRegistry) -> None:
    found = check(f"{registry.host}/team/*", password="wrong")
    assert (found.ok, found.code) == (False, "login")
    assert found.message == f"{registry.host} refuses the user 'alice' or its password."
    assert "Type the password again" in found.next_step


@pytest.mark.parametrize("name", ["team/x:2", "team/none:1"])
def test_no_such_image(registry: ImageRegistry, name: str) -> None:
    found = check(f"{registry.host}/*", f"{registry.host}/{name}")
    path, _, tag = name.partition(":")
    assert (found.ok, found.code) == (False, "image")
    assert found.message == f"The login is right, and {registry.host} has no image {path} with {tag}."


def test_an_image_that_does_not_fit(registry: ImageRegistry) -> None:
    found = check(f"{registry.host}/team/*", f"{registry.host}/other/x")
    assert (found.ok, found.code) == (False, "name") and "does not fit the pattern" in found.message


def test_a_host_where_nothing_answers() -> None:
    host = f"127.0.0.1:{free_port()}"
    found = check(f"{host}/team/*")
    assert (found.ok, found.code) == (False, "host") and found.message.startswith(f"{host} can't be reached: ")


@pytest.mark.security("N30")
def test_a_host_inside_that_is_not_allowed(registry: ImageRegistry) -> None:
    found = check(f"{registry.host}/team/*", allowed="")
    assert (found.ok, found.code) == (False, "host") and "no address that may be used from here" in found.message


# ---- registries with a token service --------------------------------------------------------------
class TokenRegistry:
    """As the distribution's token specification has it: /v2/ names a realm, which gives a token for a scope."""

    def __init__(self) -> None:
        self.realm = ""
        self.allowed = {"team/x"}
        self.asked: list[dict[str, list[str]]] = []
        self.is_registry = True
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.host = f"127.0.0.1:{self._server.server_address[1]}"
        self.realm = f"http://{self.host}/token"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        registry = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                url, proof = urlsplit(self.path), self.headers.get("Authorization", "")
                if not registry.is_registry:
                    self._answer(200, {"hello": "people"})
                elif url.path == "/token":
                    query = parse_qs(url.query)
                    registry.asked.append(query)
                    right = proof == "Basic YWxpY2U6cmlnaHQ="
                    self._answer(200 if right else 401, {"token": json.dumps(query.get("scope", []))})
                elif not proof.startswith("Bearer "):
                    self._answer(401, {}, f'Bearer realm="{registry.realm}",service="the-registry"')
                elif url.path == "/v2/":
                    self._answer(200, {})
                else:
                    name = url.path.removeprefix("/v2/").partition("/manifests/")[0]
                    scope = f"repository:{name}:pull"
                    may = proof == f"Bearer {json.dumps([scope])}" and name in registry.allowed
                    self._answer(200 if may else 403, {})

            do_HEAD = do_GET  # noqa: N815

            def _answer(self, status: int, body: dict[str, Any], challenge: str = "") -> None:
                self.send_response(status)
                if challenge:
                    self.send_header("WWW-Authenticate", challenge)
                data = b"" if self.command == "HEAD" else json.dumps(body).encode()
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, format: str, *args: Any) -> None:
                return

        return Handler


@pytest.fixture
def tokens() -> Iterator[TokenRegistry]:
    server = TokenRegistry()
    yield server
    server.close()


def test_a_token_for_the_one_image(tokens: TokenRegistry) -> None:
    found = check(f"{tokens.host}/team/*", f"{tokens.host}/team/x:1", "right")
    assert found.ok, found
    assert tokens.asked == [{"service": ["the-registry"], "scope": ["repository:team/x:pull"]}]


def test_a_wrong_password_at_the_token_service(tokens: TokenRegistry) -> None:
    assert check(f"{tokens.host}/team/*", f"{tokens.host}/team/x:1", "wrong").code == "login"


def test_a_login_without_the_right(tokens: TokenRegistry) -> None:
    found = check(f"{tokens.host}/team/*", f"{tokens.host}/team/y:1", "right")
    assert found.code == "right" and "does not let it pull" in found.message


@pytest.mark.security("N31")
def test_the_password_is_not_sent_in_clear_to_where_a_registry_says(tokens: TokenRegistry) -> None:
    tokens.realm = "http://192.0.2.1/token"
    found = check(f"{tokens.host}/team/*", f"{tokens.host}/team/x:1", "right")
    assert found.code == "no_registry" and "in clear" in found.message
    assert tokens.asked == []


def test_a_server_that_is_no_registry(tokens: TokenRegistry) -> None:
    tokens.is_registry = False
    found = check(f"{tokens.host}/team/*")
    assert found.code == "no_registry" and "not as an image registry does" in found.message
