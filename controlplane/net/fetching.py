"""Requests to addresses that users named: redirects looked at one by one, sizes and times capped."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import httpx

from controlplane.net.errors import AddressRefusedError, UnreachableError
from controlplane.net.reach import Reach
from controlplane.net.transport import VettedTransport
from controlplane.net.urls import WEB, parse_url
from controlplane.settings import Settings

MOST_REDIRECTS = 3
REDIRECTS = frozenset({301, 302, 303, 307, 308})
SECRET_HEADERS = frozenset({"authorization", "cookie", "proxy-authorization"})


@dataclass(frozen=True)
class Answer:
    """What came back; `url` is where it came from in the end."""

    status: int
    headers: httpx.Headers
    body: bytes
    url: str


@dataclass(frozen=True)
class Caps:
    """Longest time of the whole request with its redirects, in seconds; largest answer, in bytes."""

    seconds: float = 30.0
    most_bytes: int = 10_000_000


class Fetcher:
    """The one way to ask an address that a user named."""

    def __init__(self, reach: Reach, ca_bundle: Path | None = None) -> None:
        self._reach = reach
        self._ca_bundle = ca_bundle

    @classmethod
    def from_settings(cls, settings: Settings) -> Fetcher:
        """With the installation's allowed networks and authorities."""
        return cls(Reach.from_settings(settings), settings.ca_bundle)

    def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        content: bytes = b"",
        caps: Caps | None = None,
        redirects: int = MOST_REDIRECTS,
    ) -> Answer:
        """The answer, whatever its status. Raises AddressRefusedError, UnreachableError."""
        caps = caps or Caps()
        sent = {"Accept-Encoding": "identity", **(headers or {})}
        transport = VettedTransport(self._reach, caps.seconds, self._ca_bundle)
        with httpx.Client(transport=transport, trust_env=False, timeout=caps.seconds) as client:
            for _ in range(redirects + 1):
                parse_url(url, WEB)
                answer = self._once(client, method, url, sent, content, caps)
                following = answer.headers.get("Location")
                if answer.status not in REDIRECTS or following is None:
                    return answer
                method, content = _after(answer.status, method, content)
                following = urljoin(url, following)
                sent = sent if _origin(following) == _origin(url) else _without_secrets(sent)
                url = following
        raise AddressRefusedError(f"The address leads on by more than {redirects} redirects.")

    @staticmethod
    def _once(
        client: httpx.Client, method: str, url: str, headers: Mapping[str, str], content: bytes, caps: Caps
    ) -> Answer:
        with client.stream(method, url, headers=headers, content=content or None) as answer:
            body = bytearray()
            for chunk in answer.iter_raw(65_536):
                body += chunk
                if len(body) > caps.most_bytes:
                    raise UnreachableError(f"The answer has more than {caps.most_bytes} bytes.")
            return Answer(answer.status_code, answer.headers, bytes(body), url)


def _after(status: int, method: str, content: bytes) -> tuple[str, bytes]:
    """Method and content of the request that follows a redirect."""
    return (method, content) if status in (307, 308) or method in ("GET", "HEAD") else ("GET", b"")


def _origin(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc


def _without_secrets(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.lower() not in SECRET_HEADERS}
