"""One file over HTTP: in parallel ranges where the server can, resumed part by part, from one version of the object.

Beside `TARGET.part` stands `TARGET.part.json`: which ranges are there, of which version. So a download goes on after
a broken connection, an expired address or the agent's restart.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import urllib3

from worker_bootstrap.agent.attempt.digest import Digests, Follower, Hasher, file_digests
from worker_bootstrap.agent.backoff import Backoff
from worker_bootstrap.agent.files import FULL, read_json, write_json
from worker_bootstrap.agent.http import ForbiddenAddressError
from worker_bootstrap.agent.log import shown_url

CHUNK = 1 << 20
GONE = frozenset({400, 401, 403, 404, 410})
REQUEST_HEADERS = {"Accept-Encoding": "identity"}


class NotFoundError(Exception):
    """The address has no such bytes, refuses them, or may not be used."""


class UnreachableError(Exception):
    """It could not be read within the patience."""


class ChangedError(Exception):
    """The object changed while it was read."""


class _RetryError(Exception):
    """Worth another try."""


@dataclass(frozen=True)
class Address:
    """Where to read, and the headers that go with it. `by_user`: see UrlItem."""

    url: str
    headers: dict[str, str]
    by_user: bool = False


@dataclass(frozen=True)
class Version:
    """What the server says about the object; `total` None: it does not say. `mark`: its ETag or date."""

    total: int | None
    mark: str


@dataclass(frozen=True)
class Rules:
    """How to download. `alive` raises when the attempt shall not go on, `room(bytes)` OSError when the disk is full."""

    patience: float
    part_bytes: int
    parallel: int
    first_pause: float
    most_pause: float
    alive: Callable[[], None]
    room: Callable[[int], None]


class Download:
    """`address` gives a fresh address each time it is called, `http` the way to it."""

    def __init__(
        self, http: Callable[[Address], urllib3.PoolManager], address: Callable[[], Address], target: Path, rules: Rules
    ) -> None:
        self._http = http
        self._address = address
        self._target = target
        self._part = target.with_name(target.name + ".part")
        self._notes = target.with_name(target.name + ".part.json")
        self._rules = rules
        self._lock = threading.Lock()
        self._version: Version | None = None
        self._done: set[int] = set()
        self._now = address()
        self._follower: Follower | None = None
        self._digests: Digests | None = None

    @property
    def digests(self) -> Digests:
        """Of the target's bytes, after `run` has fetched them."""
        return self._digests or file_digests(self._target)

    def run(self, known: Callable[[Version], bool] = lambda _: False) -> Version:
        """Fetch to the target; with `known(version)` true nothing is fetched.

        Raises NotFoundError, UnreachableError, ChangedError, OSError, and what `alive` raises.
        """
        try:
            version = self._tried(lambda: self._first(known))
            if self._version is None:
                return version
            if version.total is not None and self._missing(version.total):
                self._rest(version.total)
            if self._follower is not None:
                self._digests = self._follower.result()
        except OSError as error:
            if error.errno in FULL:
                self._part.unlink(missing_ok=True)  # it would only keep the disk full
            raise
        finally:
            if self._follower is not None:
                self._follower.close()
        self._part.replace(self._target)
        self._notes.unlink(missing_ok=True)
        return version

    def _first(self, known: Callable[[Version], bool]) -> Version:
        """Headers, and the first range or everything."""
        size = self._rules.part_bytes
        response = self._request({"Range": f"bytes=0-{size - 1}"})
        try:
            version = _version(response)
            if known(version):
                return version
            if response.status == 206 and version.total is not None and version.mark:
                self._resume(version)
                self._store(response, 0, min(size, version.total))
                return version
            if response.status == 206:
                response.close()
                response = self._request({})
                version = _version(response)
            self._version = version
            self._whole(response, version.total)
            return Version(None, version.mark)
        finally:
            response.close()

    def _resume(self, version: Version) -> None:
        notes = read_json(self._notes, {}) if self._part.exists() else {}
        same = notes.get("mark") == version.mark and notes.get("total") == version.total
        self._done = set(notes["done"]) if same and notes.get("size") == self._rules.part_bytes else set()
        self._version = version
        with self._part.open("r+b" if self._part.exists() else "w+b") as file:
            if not same:
                file.truncate(0)
            if version.total:
                self._rules.room(version.total)
                os.posix_fallocate(file.fileno(), 0, version.total)
        self._follow(version.total or 0)

    def _follow(self, total: int) -> None:
        """Anew with each first answer: it may be of another version than the last."""
        if self._follower is not None:
            self._follower.close()
        self._follower = Follower(self._part, self._rules.part_bytes, total)
        self._follower.came(self._done)

    def _missing(self, total: int) -> list[int]:
        starts = range(0, total, self._rules.part_bytes)
        return [start for start in starts if start not in self._done]

    def _rest(self, total: int) -> None:
        with ThreadPoolExecutor(self._rules.parallel, "download") as pool:
            jobs = [pool.submit(self._tried, lambda s=start: self._range(s, total)) for start in self._missing(total)]
            _, left = wait(jobs, return_when=FIRST_EXCEPTION)
            for job in left:
                job.cancel()
        for job in jobs:
            if not job.cancelled():
                job.result()

    def _range(self, start: int, total: int) -> None:
        size = min(self._rules.part_bytes, total - start)
        response = self._request({"Range": f"bytes={start}-{start + size - 1}"})
        try:
            if response.status != 206 or _version(response) != self._version:
                raise ChangedError(f"{shown_url(self._now.url)} changed while it was read")
            self._store(response, start, size)
        finally:
            response.close()

    def _store(self, response: Any, start: int, size: int) -> None:
        """The bytes of one range to their place, and a note that they are there."""
        if start in self._done:
            return
        written = 0
        with self._part.open("r+b") as file:
            file.seek(start)
            for chunk in response.stream(CHUNK, decode_content=False):
                self._rules.alive()
                written += len(chunk)
                if written > size:
                    break
                file.write(chunk)
        if written != size:
            raise _RetryError(f"{written} of {size} bytes came")
        with self._lock:
            self._done.add(start)
            if self._follower is not None:
                self._follower.came({start})
            version = self._version or Version(None, "")
            write_json(
                self._notes,
                {
                    "mark": version.mark,
                    "total": version.total,
                    "size": self._rules.part_bytes,
                    "done": sorted(self._done),
                },
            )

    def _whole(self, response: Any, total: int | None) -> None:
        written, hasher = 0, Hasher()
        self._rules.room(total or 0)
        with self._part.open("wb") as file:
            for chunk in response.stream(CHUNK, decode_content=False):
                self._rules.alive()
                self._rules.room(len(chunk))
                file.write(chunk)
                hasher.update(chunk)
                written += len(chunk)
        self._digests = hasher.result()
        if total is not None and written != total:
            raise _RetryError(f"{written} of {total} bytes came")

    def _request(self, headers: dict[str, str]) -> Any:
        """A streaming answer with status 200 or 206."""
        now = self._now
        sent = {**REQUEST_HEADERS, **now.headers, **headers}
        response = self._http(now).request("GET", now.url, headers=sent, preload_content=False)
        if response.status in (200, 206):
            return response
        response.close()
        if response.status == 416 and headers:
            return self._request({})  # an empty object has no ranges
        if response.status in GONE:
            raise NotFoundError(f"{shown_url(now.url)} answered {response.status}")
        raise _RetryError(f"the server answered {response.status}")

    def _tried(self, work: Callable[[], Any]) -> Any:
        """Again until the patience ends, which begins with the first failure; a refused address is renewed once."""
        deadline = 0.0
        backoff = Backoff(self._rules.first_pause, self._rules.most_pause)
        renewed = False
        while True:
            self._rules.alive()
            try:
                return work()
            except NotFoundError:
                if renewed:
                    raise
                renewed = True
                self._renew()
                continue
            except (_RetryError, urllib3.exceptions.HTTPError) as error:
                deadline = deadline or time.monotonic() + self._rules.patience
                self._give_up(error, final=time.monotonic() > deadline)
            self._pause(backoff.next())
            self._renew()

    def _give_up(self, error: Exception, *, final: bool) -> None:
        """Raise what no further try can mend; with `final` everything."""
        cause = getattr(error, "reason", None) or error
        if isinstance(cause, ForbiddenAddressError):
            raise NotFoundError(str(cause)) from error
        if isinstance(error, urllib3.exceptions.LocationValueError | urllib3.exceptions.URLSchemeUnknown):
            raise NotFoundError(f"{shown_url(self._now.url)} is no http(s) address") from error
        if final:
            text = str(error) if isinstance(error, _RetryError) else type(cause).__name__
            raise UnreachableError(f"{shown_url(self._now.url)}: {text}") from error

    def _renew(self) -> None:
        self._now = self._address()

    def _pause(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self._rules.alive()
            time.sleep(min(0.2, left))


def _version(response: Any) -> Version:
    headers = response.headers
    mark = headers.get("ETag") or headers.get("Last-Modified") or ""
    if response.status == 206:
        total = headers.get("Content-Range", "").rpartition("/")[2]
        return Version(int(total) if total.isdigit() else None, mark)
    length = headers.get("Content-Length", "")
    return Version(int(length) if length.isdigit() else None, mark)
