"""Bytes to a store by signed addresses, with patience for a store that is away and none for one that refuses."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, BinaryIO, TypeVar, cast

import urllib3

from worker_bootstrap.agent import reasons
from worker_bootstrap.agent.attempt.context import STORE_AWAY, STORE_AWAY_SENTENCE, Context
from worker_bootstrap.agent.attempt.digest import Digests, HashingReader
from worker_bootstrap.agent.attempt.errors import infrastructure_error
from worker_bootstrap.agent.attempt.parts import Addresses, PartReader, part_count, part_size
from worker_bootstrap.agent.backoff import Backoff
from worker_bootstrap.protocol.messages import UrlItem

T = TypeVar("T")
STORED = frozenset({200, 201, 204})
THERE_ALREADY = 412
FORBIDDEN = 403
CONFLICT = 409
REFUSED = frozenset({400, 401, 404, 405, 409, 411, 413, 414, 507})
OLD_ATTEMPT = "old_attempt"
BAD_NAME = "bad_name"


class SupersededError(Exception):
    """A newer attempt was granted: nothing of this one is wanted any more."""


class StoreAwayError(Exception):
    """The store does not answer now."""


class ForbiddenError(Exception):
    """The address is not valid any more, or never was."""


class BadNameError(Exception):
    """The store keeps no object of that name."""


class SourceChangedError(Exception):
    """The file became shorter while it was read."""


def put(http: urllib3.PoolManager, item: UrlItem, source: BinaryIO, size: int) -> tuple[int, Digests]:
    """(status, checksums of what was sent). Raises StoreAwayError, SourceChangedError."""
    body = HashingReader(source, size)
    headers = {**item.headers, "Content-Length": str(size)}
    try:
        response = http.request(item.method or "PUT", item.url, body=cast(Any, body), headers=headers, redirect=False)
    except urllib3.exceptions.HTTPError as error:
        raise StoreAwayError(type(getattr(error, "reason", None) or error).__name__) from error
    digests = body.hasher.result()
    if response.status in STORED and digests.size != size:
        raise SourceChangedError
    if response.status in (FORBIDDEN, CONFLICT) and _is_there(http, item, size):
        return THERE_ALREADY, digests
    return response.status, digests


def _is_there(http: urllib3.PoolManager, item: UrlItem, size: int) -> bool:
    """Some stores refuse to write a second time as they refuse a bad address; HEAD at the same address tells."""
    try:
        response = http.request("HEAD", item.url, redirect=False)
    except urllib3.exceptions.HTTPError:
        return False
    return response.status == 200 and response.headers.get("Content-Length") == str(size)


def _digests(source: BinaryIO, size: int) -> Digests:
    """Of an object that was there already: the store may have refused it before it was all sent."""
    reader = HashingReader(source, size)
    while reader.read():
        pass
    return reader.hasher.result()


class Uploader:
    """Puts one object after another. `patience`: how long a store may be away."""

    def __init__(self, context: Context, purpose: str, patience: float) -> None:
        self._context = context
        self._purpose = purpose
        self._patience = patience

    def store(
        self, name: str, source: BinaryIO, size: int, *, may_exist: bool, alive: Callable[[], None]
    ) -> tuple[str, Digests]:
        """(key, checksums). `may_exist`: an earlier try may have stored it, so "already there" is success.

        Raises AttemptError, BadNameError, SupersededError, SourceChangedError, StoreAwayError (patience 0), and what
        `alive` raises.
        """

        def work() -> tuple[str, Digests]:
            nonlocal may_exist
            item = self._item(UrlItem(name, self._purpose, name, size))
            if item.upload:
                return self._in_parts(item, source, alive)
            expected, may_exist = may_exist, True
            status, digests = put(self._context.http(by_user=item.by_user), item, source, size)
            if status == THERE_ALREADY and expected:
                return item.key, _digests(source, size)
            self._check(name, status)
            return item.key, digests

        return self._patiently(name, work, alive)

    def _in_parts(self, whole: UrlItem, source: BinaryIO, alive: Callable[[], None]) -> tuple[str, Digests]:
        """A large object: parts beside each other, each tried by itself, and put together by the master."""
        digests = _digests(source, whole.size)
        if digests.size != whole.size:
            raise SourceChangedError
        addresses = Addresses(whole, self._context.urls)
        with ThreadPoolExecutor(self._context.config.parallel_uploads, "parts") as pool:
            jobs = [
                pool.submit(
                    self._patiently, whole.name, lambda n=number: self._part(whole, addresses, n, source), alive
                )
                for number in range(1, part_count(whole) + 1)
            ]
            try:
                marks = [job.result() for job in jobs]
            finally:
                for job in jobs:
                    job.cancel()
        done = UrlItem(whole.id, "complete", whole.name, whole.size, upload=whole.upload, marks=marks)
        return self._patiently(whole.name, lambda: self._item(done).key, alive), digests

    def _part(self, whole: UrlItem, addresses: Addresses, number: int, source: BinaryIO) -> str:
        """The store's own mark (ETag) of one part."""
        item = self._usable(whole.name, addresses.take(number))
        size = part_size(whole, number)
        body = PartReader(source, (number - 1) * whole.part_bytes, size)
        headers = {**item.headers, "Content-Length": str(size)}
        try:
            response = self._context.http(by_user=item.by_user).request(
                item.method or "PUT", item.url, body=cast(Any, body), headers=headers, redirect=False
            )
        except urllib3.exceptions.HTTPError as error:
            raise StoreAwayError(type(getattr(error, "reason", None) or error).__name__) from error
        self._check(whole.name, response.status)
        return response.headers.get("ETag", "")

    def _patiently(self, name: str, work: Callable[[], T], alive: Callable[[], None]) -> T:
        """Again while the store is away; an address that it refuses is renewed once."""
        deadline = 0.0
        backoff = Backoff(self._context.config.backoff_first, self._context.config.backoff_most)
        refusals = 0
        while True:
            alive()
            try:
                return work()
            except ForbiddenError as error:
                refusals += 1
                if refusals > 1:
                    raise self._refused(name, str(error)) from error
                why = str(error)
            except StoreAwayError as error:
                why = str(error)
            deadline = deadline or time.monotonic() + self._patience
            if time.monotonic() >= deadline:
                if not self._patience:
                    raise StoreAwayError(why)
                raise self._refused(name, f"{why}, for {self._patience:.0f} s")
            self._context.pause(backoff.next())

    def _check(self, name: str, status: int) -> None:
        if status in STORED:
            return
        why = f"the store answered {status}"
        if status == FORBIDDEN:
            raise ForbiddenError(why)
        if status in REFUSED or status == THERE_ALREADY:
            raise self._refused(name, why)
        raise StoreAwayError(why)

    def _item(self, wanted: UrlItem) -> UrlItem:
        item = self._usable(wanted.name, self._context.urls([wanted]).get(wanted.id))
        return replace(item, size=wanted.size)

    def _usable(self, name: str, item: UrlItem | None) -> UrlItem:
        if item is not None and item.error == OLD_ATTEMPT:
            raise SupersededError
        if item is not None and item.error == BAD_NAME:
            raise BadNameError(name)
        if item is not None and item.error == STORE_AWAY:
            raise StoreAwayError(STORE_AWAY_SENTENCE)
        if item is None or item.error or not (item.url or item.upload or item.key):
            raise self._refused(name, item.error if item is not None and item.error else "no address")
        return item

    @staticmethod
    def _refused(name: str, why: str) -> Exception:
        return infrastructure_error(reasons.STORE_REFUSED, f"{name}: {why}")
