"""Inputs: fetched, checked, cached, and placed read-only under inputs/NAME."""

from __future__ import annotations

import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import urllib3

from worker_bootstrap.agent import reasons
from worker_bootstrap.agent.attempt.context import STORE_AWAY, STORE_AWAY_SENTENCE, Context
from worker_bootstrap.agent.attempt.digest import Digests
from worker_bootstrap.agent.attempt.download import (
    Address,
    ChangedError,
    Download,
    NotFoundError,
    UnreachableError,
    Version,
)
from worker_bootstrap.agent.attempt.errors import infrastructure_error, user_error
from worker_bootstrap.agent.attempt.names import safe_relative, shown
from worker_bootstrap.agent.backoff import Backoff
from worker_bootstrap.agent.cache import cache_key, place
from worker_bootstrap.protocol.job import Input, InputFile

ON_DEMAND = "on-demand"
BASE = "/valohai/inputs"


@dataclass(frozen=True)
class _Plan:
    input: Input
    file: InputFile
    target: Path


def fetch_inputs(context: Context, folder: Path) -> dict[str, Any]:
    """Files in place below `folder`; returns the object of inputs.json. Raises AttemptError, OSError."""
    plans = [_plan(entry, file, folder) for entry in context.job.inputs for file in entry.files]
    for entry in context.job.inputs:
        (folder / entry.name).mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(context.config.parallel_downloads, "inputs") as pool:
        entries = list(pool.map(lambda plan: _entry(context, plan), plans))
    found: dict[str, Any] = {entry.name: {"input_id": entry.input_id, "files": []} for entry in context.job.inputs}
    for plan, description in zip(plans, entries, strict=True):
        found[plan.input.name]["files"].append(description)
    return found


def is_on_demand(entry: Input) -> bool:
    """Whether the container itself may fetch files of this input."""
    return any(file.download_intent == ON_DEMAND for file in entry.files)


def is_stored(file: InputFile) -> bool:
    """Whether the file lies in a store, so that its address is one that the master signed."""
    return bool(file.datum_id or file.storage_uri)


def _plan(entry: Input, file: InputFile, folder: Path) -> _Plan:
    if not safe_relative(entry.name) or "/" in entry.name or not safe_relative(file.path):
        raise user_error(reasons.INPUT_NOT_FOUND, f"{shown(entry.name)}: the name {shown(file.path)} is not usable")
    return _Plan(entry, file, folder / entry.name / file.path)


def _entry(context: Context, plan: _Plan) -> dict[str, Any]:
    """What inputs.json says of the file, once it is there."""
    file = plan.file
    description: dict[str, Any] = {
        "name": file.name,
        "path": f"{BASE}/{plan.input.name}/{file.path}",
        "uri": file.uri,
        "size": file.size,
        "checksums": dict(file.checksums),
        "metadata": [file.metadata] if file.metadata else [],
        "datum_id": file.datum_id,
        "storage_uri": file.storage_uri,
        "download_intent": file.download_intent,
        "input_id": plan.input.input_id,
    }
    if file.download_intent == ON_DEMAND:
        return description
    plan.target.parent.mkdir(parents=True, exist_ok=True)
    digests = _Fetcher(context, plan).fetch()
    return {**description, "size": digests.size, "checksums": digests.checksums()}


class _Fetcher:
    """One file. Its cache key may be known from the job, or only after the server's first answer."""

    def __init__(self, context: Context, plan: _Plan) -> None:
        self._context = context
        self._file = plan.file
        self._label = f"{plan.input.name}/{plan.file.path}"
        self._target = plan.target
        self._cache = context.tools.cache
        self._use_cache = not context.controls.no_data_cache
        self._found: Digests | None = None
        self._key = ""

    def fetch(self) -> Digests:
        file = self._file
        key = self._cache_key(file.version, file.size)
        if not key:
            self._context.status(f"Fetching input {self._label}")
            return self._checked()
        with self._cache.only_one(key):
            found = self._cache.take(key, self._target)
            if found is not None:
                self._say_cached(found)
                return found
            self._context.status(f"Fetching input {self._label}")
            return self._checked()

    def _cache_key(self, version: str, size: int | None) -> str:
        if not self._use_cache:
            return ""
        return cache_key(self._context.job.organization, self._file.uri, version, size)

    def _checked(self) -> Digests:
        """Downloaded and right; wrong bytes are fetched once more."""
        why = ""
        for _ in range(2):
            try:
                version, digests = self._download()
            except ChangedError as error:
                why = str(error)
                continue
            if self._found is not None:
                self._say_cached(self._found)
                return self._found
            why = _wrong(self._file, digests)
            if not why:
                self._share(version, digests)
                return digests
            self._target.unlink()
        raise user_error(reasons.INPUT_CHECKSUM, f"{self._label}: {why}")

    def _say_cached(self, found: Digests) -> None:
        self._context.status(f"Input {self._label}: {found.size} bytes from this machine's cache")

    def _download(self) -> tuple[Version, Digests]:
        try:
            download = Download(self._http, self._address, self._target, self._context.rules())
            return download.run(self._known), self._found or download.digests
        except NotFoundError as error:
            raise user_error(reasons.INPUT_NOT_FOUND, f"{self._label}: {error}") from error
        except UnreachableError as error:
            # Our own store's fault is the infrastructure's; that of an address which a user wrote is the user's.
            fail = infrastructure_error if is_stored(self._file) else user_error
            raise fail(reasons.INPUT_UNREACHABLE, f"{self._label}: {error}") from error

    def _http(self, found: Address) -> urllib3.PoolManager:
        return self._context.http(by_user=found.by_user or not is_stored(self._file))

    def _known(self, version: Version) -> bool:
        """The server named version and size: perhaps it is in the cache."""
        self._key = self._cache_key(self._file.version or version.mark, version.total)
        self._found = self._cache.take(self._key, self._target) if self._key else None
        return self._found is not None

    def _share(self, version: Version, digests: Digests) -> None:
        """Into the cache, so that the next attempt needs not fetch it. Read-only here in any case."""
        key = self._key or self._cache_key(self._file.version or version.mark, digests.size)
        self._target.chmod(0o444)
        if not key:
            return
        spare = self._cache.folder / f"{key}.{uuid.uuid4().hex}.tmp"
        place(self._target, spare)
        if not self._cache.keep(key, spare, digests):
            spare.unlink(missing_ok=True)

    def _address(self) -> Address:
        """Where it is now; a store that does not answer the control plane is given its time."""
        config = self._context.config
        deadline = time.monotonic() + config.download_patience
        backoff = Backoff(config.backoff_first, config.backoff_most)
        while True:
            self._context.alive()
            found, why = self._context.address("input", self._file.id)
            if found is not None:
                return found
            if why != STORE_AWAY:
                raise user_error(reasons.INPUT_NOT_FOUND, f"{self._label}: {why}")
            if time.monotonic() > deadline:
                raise UnreachableError(STORE_AWAY_SENTENCE)
            self._context.pause(backoff.next())


def _wrong(file: InputFile, found: Digests) -> str:
    """Why the bytes are not the listed ones; empty when they are."""
    if file.size is not None and found.size != file.size:
        return f"{found.size} bytes came, {file.size} were expected"
    have = found.checksums()
    for kind, expected in file.checksums.items():
        if kind in have and have[kind] != expected.lower():
            return f"its {kind} is not the expected one"
    return ""
