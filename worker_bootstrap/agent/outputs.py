"""Outputs of an attempt: at the end, and at once when a file is made read-only."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import urllib3

from worker_bootstrap.agent.files import bad_output_name, digests, find_outputs, read_sidecar
from worker_bootstrap.agent.wire import UnansweredError
from worker_bootstrap.protocol.job import Job
from worker_bootstrap.protocol.messages import UrlItem

if TYPE_CHECKING:
    from worker_bootstrap.agent.attempt import Tools

SIDECAR = ".metadata.json"
PROPERTIES = "valohai.metadata.jsonl"
SCAN_EVERY = 1.0


class StoreRefusedError(RuntimeError):
    """The store did not take an output."""


class Outputs:
    """Uploads each file once; what is done is kept on disk."""

    def __init__(
        self,
        job: Job,
        folder: Path,
        tools: Tools,
        emit: Callable[[str, dict[str, Any]], None],
        status: Callable[[str], None],
    ) -> None:
        self._job = job
        self._folder = folder
        self._tools = tools
        self._emit = emit
        self._status = status
        self._ledger = folder.parent / "uploaded.json"
        self._done: set[str] = set(json.loads(self._ledger.read_text())) if self._ledger.exists() else set()
        self._scanned = 0.0

    def upload_finished_files(self) -> None:
        """Files that the user's code made read-only. A store that is away now is tried again at the end."""
        now = time.monotonic()
        if now - self._scanned < SCAN_EVERY:
            return
        self._scanned = now
        for path in find_outputs(self._folder)[0]:
            if not path.stat().st_mode & 0o222 and self._name(path) not in self._done and not self._is_sidecar(path):
                self._upload(path, live=True, patience=0)

    def upload_all(self) -> None:
        """Every file that is left. Raises StoreRefusedError."""
        files, left = find_outputs(self._folder)
        for name in left:
            self._status(f"Output {name[:200]!r} is no regular file and was left out.")
        for path in files:
            if not self._is_sidecar(path) and self._name(path) not in self._done:
                self._upload(path, live=False, patience=self._tools.config.upload_patience)

    def _upload(self, path: Path, *, live: bool, patience: float) -> None:
        name = self._name(path)
        bad = bad_output_name(name)
        if bad:
            self._status(f"Output {name[:200]!r} was left out: {bad}.")
            self._note(name)
            return
        found = digests(path)
        key = self._put(path, name, found.size, patience)
        if key is None:
            return
        self._emit(
            "output",
            {
                "name": name,
                "size": found.size,
                "md5": found.md5,
                "sha1": found.sha1,
                "sha256": found.sha256,
                "key": key,
                "metadata": self._metadata(path, name),
                "live": live,
            },
        )
        self._status(f"Uploaded {name} ({found.size} bytes)")
        self._note(name)

    def _put(self, path: Path, name: str, size: int, patience: float) -> str | None:
        """The object's key; None when the store can't take it now and `patience` (seconds) is 0."""
        deadline = time.monotonic() + patience
        pause, why = 0.5, ""
        while True:
            try:
                item = UrlItem(name, "output", name, size)
                (item,) = self._tools.wire.ask_urls(self._job.attempt, [item], self._tools.config.url_timeout)
                status = 0 if item.error else self._tools.transfer.upload(item.url, item.headers, path)
                if status in (200, 201, 204, 412):
                    return item.key
                why = item.error or f"HTTP {status}"
                if status in (400, 403, 507) or item.error in ("bad_name", "denied"):
                    raise StoreRefusedError(f"{name}: {why}")
            except (UnansweredError, urllib3.exceptions.HTTPError) as error:
                why = type(error).__name__
            if not patience:
                return None
            if time.monotonic() > deadline:
                raise StoreRefusedError(f"{name}: {why}")
            time.sleep(pause)
            pause = min(15.0, pause * 2)

    def _metadata(self, path: Path, name: str) -> dict[str, Any]:
        found = read_sidecar(path)
        try:
            lines = (self._folder / PROPERTIES).read_text(errors="replace").splitlines()[:100_000]
        except OSError:
            return found
        for line in lines:
            try:
                entry = json.loads(line)
                if entry["file"].removeprefix("/valohai/outputs/") == name:
                    found = {**found, **entry["metadata"]}
            except (ValueError, KeyError, TypeError, AttributeError):
                continue
        return found

    def _note(self, name: str) -> None:
        self._done.add(name)
        temporary = self._ledger.with_suffix(".new")
        temporary.write_text(json.dumps(sorted(self._done)))
        temporary.replace(self._ledger)

    def _name(self, path: Path) -> str:
        return path.relative_to(self._folder).as_posix()

    def _is_sidecar(self, path: Path) -> bool:
        if self._name(path) == PROPERTIES:
            return True
        return path.name.endswith(SIDECAR) and path.with_name(path.name.removesuffix(SIDECAR)).exists()
