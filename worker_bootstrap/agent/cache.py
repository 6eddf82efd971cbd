"""Files that attempts share on this machine: DIR/cache/KEY and KEY.json (its checksums). Longest unused ones leave.

A key has the organisation in it: nothing is shared across organisations. Cached files are read-only and reach
containers by read-only mounts only.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from worker_bootstrap.agent.attempt.digest import Digests
from worker_bootstrap.agent.files import read_json, write_json

HALF_MADE_FOR = 86400.0


def cache_key(organization: str, uri: str, version: str, size: int | None) -> str:
    """Name of a file in the cache; empty when nothing tells one version from the next."""
    if not version or size is None:
        return ""
    return hashlib.sha256("|".join((organization, uri, version, str(size))).encode()).hexdigest()


class Cache:
    """Thread-safe; `most` and `min_free` in bytes."""

    def __init__(self, folder: Path, most: int, min_free: int) -> None:
        self._folder = folder
        self._most = most
        self._min_free = min_free
        self._lock = threading.Lock()
        self._busy: dict[str, threading.Lock] = {}
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._sweep()

    @property
    def folder(self) -> Path:
        """Where downloads for the cache are made."""
        return self._folder

    @contextmanager
    def only_one(self, key: str) -> Iterator[None]:
        """One download of a key at a time."""
        with self._lock:
            lock = self._busy.setdefault(key, threading.Lock())
        with lock:
            yield

    def take(self, key: str, target: Path) -> Digests | None:
        """Place the cached file at `target`; None when it is not here or not whole."""
        notes = read_json(self._folder / f"{key}.json")
        if notes is None:
            return None
        digests = Digests(**notes)
        cached = self._folder / key
        try:
            if cached.stat().st_size != digests.size:
                raise FileNotFoundError
            place(cached, target)
            os.utime(self._folder / f"{key}.json")
        except FileNotFoundError:
            self._drop(key)
            return None
        return digests

    def keep(self, key: str, source: Path, digests: Digests) -> bool:
        """Move a checked file into the cache; False when it is too large for it."""
        with self._lock:
            if not self._make_room(digests.size):
                return False
            source.chmod(0o444)
            source.replace(self._folder / key)
            write_json(self._folder / f"{key}.json", vars(digests))
        return True

    def _make_room(self, size: int) -> bool:
        if size > self._most:
            return False
        entries = sorted(self._entries(), key=lambda entry: entry[1])
        total = sum(entry[2] for entry in entries) + size
        for key, _, length in entries:
            if total <= self._most and shutil.disk_usage(self._folder).free >= self._min_free:
                break
            self._drop(key)
            total -= length
        return total <= self._most

    def _entries(self) -> list[tuple[str, float, int]]:
        """(key, last use, bytes)."""
        found = []
        for notes in self._folder.glob("*.json"):
            key = notes.name.removesuffix(".json")
            try:
                found.append((key, notes.stat().st_mtime, (self._folder / key).stat().st_size))
            except FileNotFoundError:
                continue
        return found

    def _drop(self, key: str) -> None:
        (self._folder / f"{key}.json").unlink(missing_ok=True)
        (self._folder / key).unlink(missing_ok=True)

    def _sweep(self) -> None:
        """Half-made entries of an agent that was killed; downloads that stopped half-way may go on later."""
        for path in self._folder.iterdir():
            if ".part" in path.name and time.time() - path.stat().st_mtime < HALF_MADE_FOR:
                continue
            if (
                path.suffix in (".new", ".tmp")
                or not (self._folder / f"{path.name.removesuffix('.json')}.json").exists()
            ):
                path.unlink(missing_ok=True)


def place(source: Path, target: Path) -> None:
    """`source` at `target` without a second copy where the file system can."""
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except FileNotFoundError:
        raise
    except OSError:
        shutil.copyfile(source, target)
        target.chmod(0o444)
