"""Addresses that users name lead nowhere inside: N30 to N36, on real sockets of the loopback."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import urllib3

from controlplane.net.errors import AddressRefusedError, UnreachableError
from controlplane.net.fetching import Caps, Fetcher
from controlplane.net.reach import Reach
from worker_bootstrap.agent.config import AgentConfig, ConfigError, parse_config
from worker_bootstrap.agent.http import ForbiddenAddressError, forbidden, input_client
from worker_bootstrap.protocol.reach import parse_networks

LOOPBACK = parse_networks(["127.0.0.0/8"])
QUICK = Caps(seconds=3.0, most_bytes=10_000)
INSIDE = (
    "127.0.0.1",
    "127.9.9.9",
    "10.0.0.1",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "100.100.100.200",
    "0.0.0.0",
    "255.255.255.255",
    "224.0.0.1",
    "[::1]",
    "[::]",
    "[fc00::1]",
    "[fd00:ec2::254]",
    "[fe80::1]",
    "[ff02::1]",
    "[::ffff:127.0.0.1]",
    "[::ffff:10.0.0.1]",
    "[::127.0.0.1]",
    "[64:ff9b::7f00:1]",
    "[2002:7f00:1::]",
)
ODD = ("2130706433", "0x7f000001", "0x7f.1", "017700000001", "0177.0.0.1", "127.1", "127.0.0.1.", "0", "①②⑦.0.0.1")


@dataclass
class Site:
    """A web server that counts what it is asked."""

    server: ThreadingHTTPServer
    asked: list[str] = field(default_factory=list)

    @property
    def port(self) -> int:
        return self.server.server_address[1]


@pytest.fixture
def site() -> Iterator[Site]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            made.asked.append(self.path)
            kind, _, rest = self.path.removeprefix("/").partition("/")
            if kind == "to":
                self.send_response(302)
                self.send_header("Location", rest)
                self.end_headers()
            elif kind == "slow":
                self.wfile.write(b"HTTP/1.1 200 OK\r\n")
                for _ in range(100):
                    self.wfile.write(b"X: y\r\n")
                    time.sleep(0.1)
            else:
                self.send_response(200)
                self.end_headers()
                self.wfile.write(b"a" * (20_000 if kind == "large" else 5))

        def log_message(self, format: str, *args: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    made = Site(server)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield made
    server.shutdown()
    server.server_close()


def closed_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.mark.security("N30")
@pytest.mark.parametrize("host", [*INSIDE, *ODD])
def test_n30_addresses_inside_are_refused(host: str) -> None:
    with pytest.raises(AddressRefusedError):
        Fetcher(Reach()).request("GET", f"http://{host}:1/", caps=QUICK)


@pytest.mark.security("N30")
def test_n30_a_name_that_leads_inside_is_refused_unconnected(site: Site) -> None:
    with pytest.raises(AddressRefusedError):
        Fetcher(Reach()).request("GET", f"http://localhost:{site.port}/", caps=QUICK)
    assert site.asked == []


@pytest.mark.security("N30")
def test_n30_the_installation_may_open_a_network(site: Site) -> None:
    answer = Fetcher(Reach(LOOPBACK)).request("GET", f"http://127.0.0.1:{site.port}/x", caps=QUICK)
    assert (answer.status, answer.body, site.asked) == (200, b"aaaaa", ["/x"])


@pytest.mark.security("N30")
def test_n30_metadata_stays_closed_whatever_is_opened() -> None:
    everything = parse_networks(["0.0.0.0/0", "::/0"])
    for host in ("169.254.169.254", "[fd00:ec2::254]", "100.100.100.200", "168.63.129.16", "0.0.0.0"):
        with pytest.raises(AddressRefusedError):
            Fetcher(Reach(everything)).request("GET", f"http://{host}/", caps=QUICK)


@pytest.mark.security("N31")
def test_n31_a_redirect_inside_is_refused(site: Site) -> None:
    # The first hop may be reached; what it leads to may not.
    fetcher = Fetcher(Reach(parse_networks(["127.0.0.1/32"])))
    for place in (f"http://127.0.0.2:{site.port}/x", "http://169.254.169.254/latest/", "file:///etc/passwd"):
        with pytest.raises(AddressRefusedError):
            fetcher.request("GET", f"http://127.0.0.1:{site.port}/to/{place}", caps=QUICK)
    assert all(path.startswith("/to/") for path in site.asked)


@pytest.mark.security("N31")
def test_n31_three_redirects_are_followed_and_no_fourth(site: Site) -> None:
    base = f"http://127.0.0.1:{site.port}"
    fetcher = Fetcher(Reach(LOOPBACK))
    assert fetcher.request("GET", f"{base}/to//to//to//end", caps=QUICK).url == f"{base}/end"
    with pytest.raises(AddressRefusedError, match="more than 3 redirects"):
        fetcher.request("GET", f"{base}/to//to//to//to//end", caps=QUICK)


@pytest.mark.security("N31")
def test_n31_a_redirect_elsewhere_gets_no_credentials(site: Site) -> None:
    seen: list[bytes] = []
    other = socket.create_server(("127.0.0.2", 0))

    def answer() -> None:
        connection, _ = other.accept()
        seen.append(connection.recv(4096))
        connection.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")
        connection.close()

    thread = threading.Thread(target=answer, daemon=True)
    thread.start()
    place = f"http://127.0.0.2:{other.getsockname()[1]}/x"
    headers = {"Authorization": "Bearer secret", "X-Plain": "kept"}
    url = f"http://127.0.0.1:{site.port}/to/{place}"
    assert Fetcher(Reach(LOOPBACK)).request("GET", url, headers=headers, caps=QUICK).status == 204
    thread.join(5)
    other.close()
    assert b"secret" not in seen[0] and b"kept" in seen[0]


@pytest.mark.security("N32")
def test_n32_the_vetted_address_is_the_connected_one(site: Site) -> None:
    """A resolver that says another thing each time: what it says later is never asked for."""
    answers = [["127.0.0.1"], ["127.0.0.2"]]
    asked: list[str] = []

    def flips(host: str, port: int) -> list[str]:
        asked.append(host)
        return answers[len(asked) - 1]

    fetcher = Fetcher(Reach(parse_networks(["127.0.0.1/32"]), flips))
    answer = fetcher.request("GET", f"http://flips.example:{site.port}/x", caps=QUICK)
    assert answer.status == 200 and asked == ["flips.example"]
    with pytest.raises(AddressRefusedError):
        fetcher.request("GET", f"http://flips.example:{site.port}/y", caps=QUICK)
    assert site.asked == ["/x"]


@pytest.mark.security("N33")
@pytest.mark.parametrize("scheme", ["file", "gopher", "ftp", "data", "jar", "ssh", "ext", "dict", ""])
def test_n33_other_schemes_are_refused(scheme: str) -> None:
    with pytest.raises(AddressRefusedError):
        Fetcher(Reach(LOOPBACK)).request("GET", f"{scheme}://127.0.0.1/x", caps=QUICK)


@pytest.mark.security("N33")
@pytest.mark.parametrize("url", ["http://a:b@h.example/", "http://h.example\\@127.0.0.1/", "http:///x", "http://h:x/"])
def test_n33_addresses_that_two_readers_read_in_two_ways_are_refused(url: str) -> None:
    with pytest.raises(AddressRefusedError):
        Fetcher(Reach(LOOPBACK)).request("GET", url, caps=QUICK)


@pytest.mark.security("N36")
def test_n36_a_refusal_does_not_tell_open_ports_from_closed_ones(site: Site) -> None:
    words = set()
    for port in (site.port, closed_port()):
        with pytest.raises(AddressRefusedError) as refused:
            Fetcher(Reach()).request("GET", f"http://127.0.0.1:{port}/", caps=QUICK)
        words.add(refused.value.message)
    assert len(words) == 1 and site.asked == []


@pytest.mark.security("N36")
def test_n36_a_failure_does_not_tell_closed_ports_from_others(site: Site) -> None:
    words = set()
    # A closed port, one that speaks no TLS, one that says nothing for too long.
    for url in (
        f"http://127.0.0.1:{closed_port()}/",
        f"https://127.0.0.1:{site.port}/",
        f"http://127.0.0.1:{site.port}/slow/",
    ):
        with pytest.raises(UnreachableError) as failed:
            Fetcher(Reach(LOOPBACK)).request("GET", url, caps=Caps(seconds=0.5))
        words.add(failed.value.message)
    assert len(words) == 1


def test_large_answers_are_cut(site: Site) -> None:
    with pytest.raises(UnreachableError, match="more than 10000 bytes"):
        Fetcher(Reach(LOOPBACK)).request("GET", f"http://127.0.0.1:{site.port}/large/", caps=QUICK)


# ---- the agent, which fetches inputs -------------------------------------------------------------------
def agent(**values: object) -> AgentConfig:
    base = {"queue_url": "redis://127.0.0.1:1", "join_password": "p", "join_secret": "s", "group": "g", "name": "n"}
    return parse_config({**base, **values})


@pytest.mark.security("N30")
def test_n30_the_agent_fetches_no_input_from_its_machine(site: Site) -> None:
    words = set()
    for host, port in (("127.0.0.1", site.port), ("127.0.0.1", closed_port()), ("localhost", site.port)):
        with pytest.raises(urllib3.exceptions.HTTPError) as refused:
            input_client(agent()).request("GET", f"http://{host}:{port}/x")
        cause = getattr(refused.value, "reason", None) or refused.value
        assert isinstance(cause, ForbiddenAddressError)
        words.add(str(cause).replace(host, "HOST"))
    assert len(words) == 1 and site.asked == []


@pytest.mark.security("N31")
def test_n31_the_agent_follows_no_redirect_to_metadata(site: Site) -> None:
    http = input_client(agent(allow_loopback_inputs=True))
    assert http.request("GET", f"http://localhost:{site.port}/x").status == 200
    with pytest.raises(urllib3.exceptions.HTTPError) as refused:
        http.request("GET", f"http://127.0.0.1:{site.port}/to/http://169.254.169.254/latest/")
    assert isinstance(getattr(refused.value, "reason", refused.value), ForbiddenAddressError)


@pytest.mark.security("N30")
def test_n30_a_machine_may_name_the_networks_that_inputs_come_from() -> None:
    networks = parse_networks(agent(input_networks=["10.1.0.0/16"]).input_networks)
    assert not forbidden("10.1.2.3", loopback=False, networks=networks)
    assert forbidden("10.2.0.1", loopback=False, networks=networks)
    assert forbidden("::ffff:10.2.0.1", loopback=False, networks=networks)
    assert not forbidden("1.1.1.1", loopback=False, networks=networks)
    with pytest.raises(ConfigError, match="input_networks: 'x' is no network"):
        agent(input_networks=["x"])
