"""Bytes to a store by signed addresses, with patience for a store that is away and none for one that refuses."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, BinaryIO

import urllib3

from worker_bootstrap.agent import reasons
from worker_bootstrap.agent.attempt.context import Context
from worker_bootstrap.agent.attempt.digest import Digests, HashingReader
from worker_bootstrap.agent.attempt.errors import infrastructure_error
from worker_bootstrap.agent.backoff import Backoff
from worker_bootstrap.protocol.messages import UrlItem

STORED = frozenset({200, 201, 204})
THERE_ALREADY = 412
FORBIDDEN = 403
REFUSED = frozenset({400, 401, 404, 405, 409, 411, 413, 414, 507})
OLD_ATTEMPT = "old_attempt"
BAD_NAME = "bad_name"


class SupersededError(Exception):
    """A newer attempt was granted: nothing of this one is wanted any more."""


class StoreAwayError(Exception):
    """The store does not answer now."""


class BadNameError(Exception):
    """The store keeps no object of that name."""


class SourceChangedError(Exception):
    """The file became shorter while it was read."""


def put(http: urllib3.PoolManager, item: UrlItem, source: BinaryIO, size: int) -> tuple[int, Digests]:
    """(status, checksums of what was sent). Raises StoreAwayError, SourceChangedError."""
    body = HashingReader(source, size)
    headers = {**item.headers, "Content-Length": str(size)}
    try:
        response = http.request(item.method or "PUT", item.url, body=_body(body), headers=headers, redirect=False)
    except urllib3.exceptions.HTTPError as error:
        raise StoreAwayError(type(getattr(error, "reason", None) or error).__name__) from error
    digests = body.hasher.result()
    if response.status in STORED and digests.size != size:
        raise SourceChangedError
    return response.status, digests


def _digests(source: BinaryIO, size: int) -> Digests:
    """Of an object that was there already: the store may have refused it before it was all sent."""
    reader = HashingReader(source, size)
    while reader.read():
        pass
    return reader.hasher.result()


def _body(reader: HashingReader) -> Any:
    return reader


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
        deadline = time.monotonic() + self._patience
        backoff = Backoff(self._context.config.backoff_first, self._context.config.backoff_most)
        refusals = 0
        while True:
            alive()
            item = self._item(name, size)
            try:
                status, digests = put(self._context.tools.signed_http, item, source, size)
                if status in STORED:
                    return item.key, digests
                if status == THERE_ALREADY and may_exist:
                    return item.key, _digests(source, size)
                refusals += status == FORBIDDEN
                if status in REFUSED or status == THERE_ALREADY or refusals > 1:
                    raise self._refused(name, f"the store answered {status}")
                why = f"the store answered {status}"
            except StoreAwayError as error:
                why = str(error)
            may_exist = True
            if time.monotonic() > deadline:
                if not self._patience:
                    raise StoreAwayError(why)
                raise self._refused(name, f"{why}, for {self._patience:.0f} s")
            self._context.pause(backoff.next())

    def _item(self, name: str, size: int) -> UrlItem:
        item = self._context.urls([UrlItem(name, self._purpose, name, size)]).get(name)
        if item is not None and item.error == OLD_ATTEMPT:
            raise SupersededError
        if item is not None and item.error == BAD_NAME:
            raise BadNameError(name)
        if item is None or item.error or not item.url:
            raise self._refused(name, item.error if item is not None and item.error else "no address")
        return item

    @staticmethod
    def _refused(name: str, why: str) -> Exception:
        return infrastructure_error(reasons.STORE_REFUSED, f"{name}: {why}")
