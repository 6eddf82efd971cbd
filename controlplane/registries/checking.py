"""Tries a credential at its registry, one step after the other, and says exactly what is wrong and what to do.

The steps are those of an engine that pulls: the registry's interface, its token service where it has one, a manifest.
"""

from __future__ import annotations

import base64
import json
import re
from urllib.parse import urlencode, urlsplit

from controlplane.clock import Clock
from controlplane.net.errors import AddressRefusedError, UnreachableError
from controlplane.net.fetching import Answer, Caps, Fetcher
from controlplane.registries.login import Login, LoginError, Opened, Verdict
from controlplane.registries.logins import Logins, Source
from controlplane.settings import Settings
from worker_bootstrap.protocol.images import DEFAULT_HOST, ImageName, parse_image

HUB = "registry-1.docker.io"
LOCAL = re.compile(r"(localhost|127(\.[0-9]{1,3}){3})(:[0-9]+)?")
MANIFESTS = ", ".join(
    (
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
        "application/vnd.docker.distribution.manifest.v2+json",
    )
)
CHALLENGE = re.compile(r'([a-zA-Z]+)="([^"]*)"')
MOST = 1_000_000


class Wrong(Exception):
    """A step failed."""

    def __init__(self, code: str, message: str, next_step: str) -> None:
        super().__init__(message)
        self.verdict = Verdict(False, code, message, next_step)


class Checker:
    """`source` gets logins, as it does for workers; `fetcher` is the vetted way to the registry."""

    def __init__(self, source: Source, fetcher: Fetcher, seconds: float) -> None:
        self._source = source
        self._fetcher = fetcher
        self._caps = Caps(seconds, MOST)

    def check(self, opened: Opened, image: str) -> Verdict:
        """Try it, with an image where one is named or the pattern means one."""
        wanted = image or opened.pattern.image
        try:
            if not wanted and "*" in opened.pattern.host:
                raise Wrong("name", "The pattern's host has wildcards.", "Name an image to test it with.")
            name = parse_image(wanted or f"{opened.pattern.host}/any")
            if wanted and not opened.pattern.fits(name):
                raise Wrong("name", f"{name} does not fit the pattern {opened.pattern}.", "Name another image.")
            return self._check(opened, name, with_image=bool(wanted))
        except Wrong as error:
            return error.verdict

    def _check(self, opened: Opened, name: ImageName, *, with_image: bool) -> Verdict:
        try:
            login = self._source(opened, name.host)
        except LoginError as error:
            raise Wrong(
                "token", f"No token can be had: {error}", "Mend this credential, then test it again."
            ) from error
        base = _base(name.host)
        door = self._ask(name.host, "GET", f"{base}/v2/")
        self._check_registry(name.host, door)
        scope = f"repository:{name.path}:pull" if with_image else ""
        proof = self._proof(name.host, door, login, scope)
        again = self._ask(name.host, "GET", f"{base}/v2/", proof)
        if again.status in (401, 403):
            raise _wrong_password(name.host, login)
        if not with_image:
            message = f"{name.host} takes the login. Name an image to see whether it may be pulled."
            return Verdict(True, "ok", message)
        return self._check_image(base, name, proof)

    @staticmethod
    def _check_registry(host: str, door: Answer) -> None:
        has_mark = "Docker-Distribution-Api-Version" in door.headers
        challenge = door.headers.get("WWW-Authenticate", "").lower()
        if (door.status == 200 and has_mark) or (door.status == 401 and challenge.startswith(("basic", "bearer"))):
            return
        raise Wrong(
            "no_registry",
            f"{host} answers, and not as an image registry does ({door.status} for /v2/).",
            "Look at the host in the pattern: some registries have their images at another host or port than their "
            "pages.",
        )

    def _proof(self, host: str, door: Answer, login: Login, scope: str) -> str:
        """What proves the login: itself, or the token that the registry's own token service gives for it."""
        basic = f"Basic {base64.b64encode(f'{login.username}:{login.password}'.encode()).decode()}"
        challenge = door.headers.get("WWW-Authenticate", "")
        if not challenge.lower().startswith("bearer"):
            return basic
        asked = dict(CHALLENGE.findall(challenge))
        realm = asked.get("realm", "")
        if urlsplit(realm).scheme != "https" and not LOCAL.fullmatch(urlsplit(realm).netloc):
            raise Wrong(
                "no_registry", f"{host} wants the password sent in clear to {realm[:200]}.", "Look at the host."
            )
        query = {"service": asked.get("service", ""), **({"scope": scope} if scope else {})}
        answer = self._ask(urlsplit(realm).netloc, "GET", f"{realm}?{urlencode(query)}", basic)
        if answer.status in (400, 401, 403):
            raise _wrong_password(host, login)
        try:
            found = json.loads(answer.body)
            return f"Bearer {found.get('token') or found['access_token']}"
        except (ValueError, KeyError, AttributeError, TypeError):
            where = urlsplit(realm).netloc
            raise Wrong("host", f"{where} gives no token for {host} ({answer.status}).", "Try again later.") from None

    def _check_image(self, base: str, name: ImageName, proof: str) -> Verdict:
        answer = self._ask(name.host, "HEAD", f"{base}/v2/{name.path}/manifests/{name.reference}", proof)
        if answer.status == 200:
            return Verdict(True, "ok", f"{name} can be pulled.")
        if answer.status in (401, 403):
            raise Wrong(
                "right",
                f"The login is right, and {name.host} does not let it pull {name.repository}.",
                "Give this user the right to pull that repository; some registries say this of one that is not there.",
            )
        if answer.status == 404:
            message = f"The login is right, and {name.host} has no image {name.path} with {name.reference}."
            raise Wrong("image", message, "Look at the image's name and tag.")
        raise Wrong("host", f"{name.host} answers {answer.status} for the image.", "Try again later.")

    def _ask(self, host: str, method: str, url: str, proof: str = "") -> Answer:
        headers = {"Accept": MANIFESTS, **({"Authorization": proof} if proof else {})}
        try:
            return self._fetcher.request(method, url, headers=headers, caps=self._caps)
        except AddressRefusedError as error:
            raise Wrong("host", error.message, "Look at the host in the pattern.") from error
        except UnreachableError as error:
            step = "Look at the registry's name, its port and its certificate, and whether this server may reach it."
            raise Wrong("host", f"{host} can't be reached: {error.message}", step) from error


def _base(host: str) -> str:
    """Engines speak plain http with their own machine only."""
    if host == DEFAULT_HOST:
        return f"https://{HUB}"
    return f"{'http' if LOCAL.fullmatch(host) else 'https'}://{host}"


def _wrong_password(host: str, login: Login) -> Wrong:
    return Wrong(
        "login",
        f"{host} refuses the user {login.username!r} or its password.",
        "Type the password again; where the registry asks for access tokens, make one and use that as the password.",
    )


def checker_of(settings: Settings, clock: Clock) -> Checker:
    """By the vetted way, with logins from the clouds' own addresses."""
    fetcher = Fetcher.from_settings(settings)
    return Checker(Logins.standard(clock, fetcher, settings.registry_timeout).login, fetcher, settings.registry_timeout)
