"""Outputs: stored at the end, and at once when a file is made read-only; each once, with its metadata."""

from __future__ import annotations

import json
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO

from worker_bootstrap.agent.attempt import sidecars
from worker_bootstrap.agent.attempt.context import Context
from worker_bootstrap.agent.attempt.digest import Digests
from worker_bootstrap.agent.attempt.errors import AttemptError, HaltedError
from worker_bootstrap.agent.attempt.names import bad_output_name, shown
from worker_bootstrap.agent.attempt.output_files import Found, open_output, scan
from worker_bootstrap.agent.attempt.upload import (
    BadNameError,
    SourceChangedError,
    StoreAwayError,
    SupersededError,
    Uploader,
)
from worker_bootstrap.agent.log import logger

MARK = "mark"


class Ledger:
    """What was stored already, appended to a file: name -> its event's data."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self.stored: dict[str, dict[str, Any]] = {}
        if path.exists():
            for line in path.read_bytes().splitlines():
                try:
                    entry = json.loads(line)
                except ValueError:
                    continue  # a torn last line: the file is stored again, which "already there" answers
                self.stored[entry["name"]] = entry

    def add(self, entry: dict[str, Any]) -> None:
        """Note a stored file."""
        with self._lock:
            self.stored[entry["name"]] = entry
            with self._path.open("ab") as file:
                file.write(json.dumps(entry).encode() + b"\n")


class Outputs:
    """One attempt's outputs folder."""

    def __init__(self, context: Context, folder: Path) -> None:
        self._context = context
        self._folder = folder
        self._ledger = Ledger(context.folder / "uploaded.jsonl")
        self._begun = context.folder / "uploading"
        self._resumed = self._begun.exists()
        self._told: set[str] = set()
        self._stop_live = threading.Event()
        self._live: threading.Thread | None = None

    # ---- while the container runs ------------------------------------------------------------------
    def start_live(self) -> None:
        """Look for finished files every `scan_interval`, in a thread."""
        if not self._context.job.outputs_enabled:
            return
        self._begun.touch()
        self._live = threading.Thread(target=self._watch, name="outputs", daemon=True)
        self._live.start()

    def stop_live(self) -> None:
        """End the thread; an upload under way is finished or given up."""
        self._stop_live.set()
        if self._live is not None:
            self._live.join()

    def _watch(self) -> None:
        interval = self._context.config.scan_interval
        while not self._stop_live.wait(interval):
            try:
                self._scan_live()
            except (HaltedError, SupersededError):
                return
            except (AttemptError, StoreAwayError, SourceChangedError, OSError) as error:
                logger.warning("attempt %s: live output later: %s", self._context.job.attempt, error)

    def _scan_live(self) -> None:
        found = [entry for entry in scan(self._folder) if entry.kind == "file"]
        names = {entry.name for entry in found}
        for entry in found:
            if self._stop_live.is_set():
                return
            wanted = entry.finished and entry.name not in self._ledger.stored and not bad_output_name(entry.name)
            if wanted and not self._is_sidecar(entry.name, names) and self._room():
                self._store(entry.name, live=True, patience=0.0, metadata=self._metadata(entry.name, {}))

    # ---- at the end --------------------------------------------------------------------------------
    def store_all(self) -> int:
        """Everything that is left; returns how many files are stored. Raises AttemptError, SupersededError, OSError."""
        if not self._context.job.outputs_enabled:
            return 0
        self._begun.touch()
        properties = self._properties()
        names = self._candidates(list(scan(self._folder)))
        every = set(names)
        chosen = [name for name in names if not self._is_sidecar(name, every)]
        left = [name for name in chosen if name not in self._ledger.stored]
        for name in chosen:
            self._check_unchanged(name)
        patience = self._context.config.upload_patience
        with ThreadPoolExecutor(self._context.config.parallel_uploads, "outputs") as pool:
            jobs = [
                pool.submit(self._store, name, live=False, patience=patience, metadata=self._metadata(name, properties))
                for name in left
            ]
            try:
                for job in jobs:
                    job.result()
            finally:
                for job in jobs:
                    job.cancel()
        self._late_metadata(properties)
        return len(self._ledger.stored)

    def _candidates(self, found: list[Found]) -> list[str]:
        """Names that can be stored; the others get a status line each."""
        names: list[str] = []
        most = self._context.job.limits.outputs_max
        for entry in found:
            why = "" if entry.kind == "file" else f"it is {'a link' if entry.kind == 'link' else 'no regular file'}"
            why = why or bad_output_name(entry.name)
            if not why and len(names) >= most:
                why = f"an execution may have {most} outputs"
            if why:
                self._tell(entry.name, why)
            else:
                names.append(entry.name)
        return names

    def _tell(self, name: str, why: str) -> None:
        if name not in self._told and len(self._told) < 100:
            self._told.add(name)
            self._context.status(f"Output {shown(name)} is not stored: {why}.")

    def _room(self) -> bool:
        return len(self._ledger.stored) < self._context.job.limits.outputs_max

    # ---- one file ----------------------------------------------------------------------------------
    def _store(self, name: str, *, live: bool, patience: float, metadata: dict[str, Any]) -> None:
        uploader = Uploader(self._context, "output", patience)
        for _ in range(3):
            source = open_output(self._folder, name)
            if source is None:
                self._tell(name, "it was removed or replaced")
                return
            with source:
                size = _size(source)
                try:
                    key, digests = uploader.store(name, source, size, may_exist=self._resumed, alive=self._context.halt)
                except SourceChangedError:
                    continue
                except BadNameError:
                    self._tell(name, "the store can't keep that name")
                    return
                mark = _mark(source)
            if digests.size != size:
                continue
            self._announce(name, key, digests, mark, live=live, metadata=metadata)
            return
        self._tell(name, "it changed again and again while it was read")

    def _check_unchanged(self, name: str) -> None:
        """A file that was stored while the command ran, and written again after that."""
        stored = self._ledger.stored.get(name)
        source = open_output(self._folder, name) if stored is not None else None
        if stored is None or source is None:
            return
        with source:
            if _mark(source) != stored[MARK]:
                self._context.status(f"Output {shown(name)} was changed after it was stored; the stored one stays.")

    def _announce(
        self, name: str, key: str, digests: Digests, mark: list[int], *, live: bool, metadata: dict[str, Any]
    ) -> None:
        data = {
            "name": name,
            "size": digests.size,
            **digests.checksums(),
            "key": key,
            "metadata": metadata,
            "live": live,
        }
        self._context.event("output", data, f"output:{name}")
        self._ledger.add({**data, MARK: mark})
        self._context.status(f"Stored output {shown(name)} ({digests.size} bytes)")

    # ---- metadata ----------------------------------------------------------------------------------
    def _is_sidecar(self, name: str, names: set[str]) -> bool:
        return name == sidecars.PROPERTIES or bool(sidecars.subject(name, names))

    def _metadata(self, name: str, properties: dict[str, dict[str, Any]]) -> dict[str, Any]:
        own: dict[str, Any] = {}
        raw = self._read(name + sidecars.SUFFIX, sidecars.MAX_BYTES + 1)
        if raw is not None:
            try:
                own = sidecars.parse_sidecar(raw)
            except sidecars.BadSidecarError as error:
                self._tell(name + sidecars.SUFFIX, f"as metadata of its file it can't be used: {error}")
        return {**self._context.job.output_metadata, **properties.get(name, {}), **own}

    def _properties(self) -> dict[str, dict[str, Any]]:
        raw = self._read(sidecars.PROPERTIES, sidecars.MAX_PROPERTIES_BYTES)
        if raw is None:
            return {}
        found, problems = sidecars.parse_properties(raw)
        for problem in problems[:10]:
            self._context.status(f"{sidecars.PROPERTIES}: {problem}")
        return found

    def _late_metadata(self, properties: dict[str, dict[str, Any]]) -> None:
        """Side-cars that came after their file was stored live: the event again, with them."""
        for name, entry in list(self._ledger.stored.items()):
            if not entry["live"]:
                continue
            metadata = self._metadata(name, properties)
            if metadata != entry["metadata"]:
                data = {field: value for field, value in entry.items() if field != MARK}
                self._context.event("output", {**data, "metadata": metadata}, f"output-metadata:{name}")

    def _read(self, name: str, most: int) -> bytes | None:
        source = open_output(self._folder, name)
        if source is None:
            return None
        with source:
            return source.read(most)


def _mark(source: BinaryIO) -> list[int]:
    """What changes when somebody writes to the file."""
    info = os.fstat(source.fileno())
    return [info.st_size, info.st_mtime_ns]


def _size(source: BinaryIO) -> int:
    return source.seek(0, 2)
