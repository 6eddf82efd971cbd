"""Logins by type, and a memory of them: got when an attempt asks, shared until shortly before they end.

Nothing of it is kept outside of this process. A registry's token service may be slow or hang: a login is got in a
thread of its own, and who asks is told to ask again.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYetError
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from controlplane.clock import Clock
from controlplane.net.fetching import Caps, Fetcher
from controlplane.registries.aws import AwsLogins
from controlplane.registries.azure import AzureLogins
from controlplane.registries.google import GoogleLogins
from controlplane.registries.login import Login, LoginError, Opened
from controlplane.settings import Settings

log = structlog.get_logger()
THREADS = 8
MOST_OF_ONE = 2
REMEMBER_FAILURE = timedelta(seconds=20)
MOST_KEPT = 2_000
Source = Callable[[Opened, str], Login]


class Logins:
    """Gets a login now, from wherever its type has it."""

    def __init__(self, aws: AwsLogins, google: GoogleLogins, azure: AzureLogins) -> None:
        self._aws = aws
        self._google = google
        self._azure = azure

    @classmethod
    def standard(cls, clock: Clock, fetcher: Fetcher, seconds: float) -> Logins:
        """With the clouds' own addresses."""
        azure = AzureLogins(clock, fetcher, Caps(seconds, 1_000_000))
        return cls(AwsLogins(clock), GoogleLogins(clock), azure)

    def login(self, opened: Opened, host: str) -> Login:
        """A login for this host. Raises LoginError."""
        try:
            return self._login(opened, host)
        except (KeyError, IndexError, ValueError, TypeError, AttributeError) as error:
            log.warning("registry_answer_unknown", type=opened.type, error=type(error).__name__)
            raise LoginError("The token service answers in a form that is not known here.", is_refused=False) from error

    def _login(self, opened: Opened, host: str) -> Login:
        if opened.type in ("aws-ecr", "aws-ecr-role"):
            return self._aws.login(opened, host)
        if opened.type == "gcp-cr":
            return self._google.login(opened)
        if opened.type == "azure-acr":
            return self._azure.login(opened, host)
        return Login(opened.configuration["username"], opened.configuration["password"])


@dataclass(frozen=True)
class _Known:
    login: Login | None
    error: LoginError | None
    until: datetime | None


class LoginMemory:
    """Logins that are valid for at least `margin` more seconds, or for half their life if that is less. Thread-safe."""

    def __init__(self, source: Source, clock: Clock, margin: float) -> None:
        self._source = source
        self._clock = clock
        self._margin = timedelta(seconds=margin)
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="registry-login")
        self._lock = threading.Lock()
        self._known: dict[tuple[str, int, str], _Known] = {}
        self._running: dict[tuple[str, int, str], Future[_Known]] = {}
        self._busy: Counter[str] = Counter()

    def get(self, opened: Opened, host: str, wait: float) -> Login | None:
        """A login, or None when there is none within `wait` seconds: ask again. Raises LoginError."""
        key = (opened.id, opened.version, host)
        with self._lock:
            known = self._known.get(key)
            if known is None or (known.until is not None and known.until <= self._clock()):
                future = self._running.get(key) or self._start(key, opened)
                known = None
            else:
                future = None
        if known is None:
            try:
                known = future.result(wait) if future is not None else None
            except NotYetError:
                known = None
        if known is not None and known.error is not None:
            raise known.error
        return known.login if known is not None else None

    def _start(self, key: tuple[str, int, str], opened: Opened) -> Future[_Known] | None:
        """None when this organisation has as many under way as one may have."""
        if self._busy[opened.organization] >= MOST_OF_ONE:
            return None
        self._busy[opened.organization] += 1
        future = self._running[key] = self._pool.submit(self._fetch, key, opened)
        return future

    def _fetch(self, key: tuple[str, int, str], opened: Opened) -> _Known:
        began = self._clock()
        found = _Known(None, LoginError("The login was not got.", is_refused=False), began)
        try:
            login = self._source(opened, key[2])
            found = _Known(login, None, self._use_until(login, began))
        except LoginError as error:
            found = _Known(None, error, self._clock() + REMEMBER_FAILURE)
        finally:
            self._keep(key, opened.organization, found)
        return found

    def _use_until(self, login: Login, began: datetime) -> datetime | None:
        if login.expires is None:
            return None
        return login.expires - min(self._margin, (login.expires - began) / 2)

    def _keep(self, key: tuple[str, int, str], organization: str, found: _Known) -> None:
        with self._lock:
            self._running.pop(key, None)
            self._busy[organization] -= 1
            self._busy += Counter()
            now = self._clock()
            if len(self._known) >= MOST_KEPT:
                self._known = {k: entry for k, entry in self._known.items() if entry.until and entry.until > now}
            self._known[key] = found


def memory_of(settings: Settings, clock: Clock) -> LoginMemory:
    """A memory of logins from the clouds' own addresses."""
    logins = Logins.standard(clock, Fetcher.from_settings(settings), settings.registry_timeout)
    return LoginMemory(logins.login, clock, settings.registry_token_margin)
