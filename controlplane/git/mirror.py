"""The bare copy of one repository on this host: fetched, listed, archived. One process at a time works in it.

REMORA_HOME/git/REPOSITORY/ holds `mirror.git`, the lock, the address that the copy is of, and folders of secrets that
live only while a command runs.
"""

from __future__ import annotations

import fcntl
import gzip
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from controlplane.git.access import Credentials, empty_folder, opened, sweep
from controlplane.git.address import Remote
from controlplane.git.command import Caps, run_git
from controlplane.git.errors import GitError
from controlplane.net.reach import Reach
from controlplane.settings import Settings

REFSPECS = ("+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*")
MOST_REFS = 5_000
MOST_NAME = 255
MOST_MESSAGE = 1_000
MOST_PACKS = 50
LOCK_PAUSE = 0.2
HASH = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
REF_FORMAT = "%(refname)%00%(objecttype)%00%(objectname)%00%(*objecttype)%00%(*objectname)"
LOG_FORMAT = "--format=tformat:%H%x00%ct%x00%an <%ae>%x00%s%x00%S"
KINDS = {"refs/heads/": "branch", "refs/tags/": "tag"}


@dataclass(frozen=True)
class Ref:
    """A branch or tag, and the commit that it leads to."""

    kind: str
    name: str
    identifier: str


@dataclass(frozen=True)
class Revision:
    """What the repository says of a commit; `source` is a branch or tag by which it was come upon."""

    identifier: str
    time: datetime
    author: str
    message: str
    source: str


@dataclass(frozen=True)
class TreeCaps:
    """Most entries of a snapshot; most bytes of its files, and of the packed archive."""

    entries: int
    unpacked: int
    packed: int


class Mirror:
    """`check` is called often while commands run, and may raise to end them."""

    def __init__(self, settings: Settings, repository: str, check: Callable[[], None] | None = None) -> None:
        self.folder = settings.home / "git" / repository
        self._bare = self.folder / "mirror.git"
        self._source = self.folder / "source"
        self._place = {"GIT_DIR": str(self._bare)}
        self._settings = settings
        self._check = check or (lambda: None)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Alone in the folder. Raises GitError when another one does not end in time."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        deadline = time.monotonic() + self._settings.git_timeout
        with (self.folder / "lock").open("w") as lock:
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    self._check()
                    if time.monotonic() > deadline:
                        raise GitError("git_too_slow", seconds=round(self._settings.git_timeout)) from None
                    time.sleep(LOCK_PAUSE)
            sweep(self.folder)
            yield

    def fetch(self, remote: Remote, credentials: Credentials, reach: Reach, told: Callable[[str], None]) -> None:
        """Bring branches and tags up to date; what the other side removed is removed. Raises GitError."""
        if self._source.exists() and self._source.read_text() != remote.url:
            self.forget()
        if not self._bare.exists():
            self._git("init", "--quiet", "--bare")
            self._source.write_text(remote.url)
        try:
            with opened(remote, credentials, reach, self.folder, self._settings.ca_bundle) as access:
                run_git(
                    ["fetch", "--progress", "--prune", "--no-write-fetch-head", "--no-auto-gc",
                     "--no-recurse-submodules", "--no-tags", "--", remote.url, *REFSPECS],
                    self._caps(),
                    home=access.home,
                    environment={**access.environment, **self._place},
                    configuration=access.configuration,
                    told=_Progress(told),
                    check=self._check,
                )  # fmt: skip
        except GitError as error:
            if error.code == "git_too_large":
                self.forget()
            raise
        if len(list(self._bare.glob("objects/pack/*.pack"))) > MOST_PACKS:
            self._git("gc", "--quiet", "--prune=now")

    def forget(self) -> None:
        """Remove the copy; the next fetch begins anew."""
        shutil.rmtree(self._bare, ignore_errors=True)
        self._source.unlink(missing_ok=True)

    def size(self) -> int:
        """Bytes of the copy."""
        return sum(path.lstat().st_size for path in self._bare.rglob("*") if path.is_file())

    def refs(self) -> list[Ref]:
        """Branches and tags that lead to commits, the newest first."""
        text = self._git("for-each-ref", f"--count={MOST_REFS}", "--sort=-creatordate", f"--format={REF_FORMAT}")
        found: list[Ref] = []
        for line in text.decode("utf-8", "replace").splitlines():
            name, kind, identifier, peeled_kind, peeled = line.split("\0")
            target = identifier if kind == "commit" else peeled if peeled_kind == "commit" else ""
            prefix = next((prefix for prefix in KINDS if name.startswith(prefix)), "")
            if target and prefix and len(name) - len(prefix) <= MOST_NAME:
                found.append(Ref(KINDS[prefix], name.removeprefix(prefix), target))
        return found

    def revisions(self, count: int, refs: list[Ref]) -> list[Revision]:
        """The newest commits of all branches and tags, and those that these lead to."""
        if not refs:
            return []
        newest = self._log(f"--max-count={count}", "--date-order", "--branches", "--tags")
        tips = self._log("--no-walk=unsorted", "--branches", "--tags")
        wanted = {ref.identifier for ref in refs[:count]}
        found = {revision.identifier: revision for revision in newest}
        found |= {revision.identifier: revision for revision in tips if revision.identifier in wanted}
        return list(found.values())

    def find(self, identifier: str) -> Revision | None:
        """A commit by its hash or the beginning of it; None when it is not here, or several begin so."""
        if not self._bare.exists():
            return None
        try:
            text = self._git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{identifier}^{{commit}}")
            found = text.decode().strip()
            return self._log("--max-count=1", found)[0] if HASH.fullmatch(found) else None
        except GitError:
            return None

    @contextmanager
    def archive(self, identifier: str, caps: TreeCaps) -> Iterator[Path]:
        """A tar.gz of the commit's files, the same bytes each time, while the block runs.

        Submodules are empty folders and LFS files their pointers. Raises GitError.
        """
        assert HASH.fullmatch(identifier)
        self._git("ls-tree", "-r", "-t", "-l", "-z", "--full-tree", identifier, out=_Counter(caps))
        with empty_folder(self.folder) as home:
            target = home / "code.tar.gz"
            with target.open("wb") as raw, gzip.GzipFile("", "wb", 6, raw, mtime=0) as packed:

                def take(piece: bytes) -> None:
                    packed.write(piece)
                    if raw.tell() > caps.packed:
                        raise GitError("git_snapshot_too_large", bytes=caps.packed, entries=caps.entries)

                self._git("archive", "--format=tar", identifier, out=take)
            yield target

    def _log(self, *arguments: str) -> list[Revision]:
        text = self._git("log", "-z", "--source", LOG_FORMAT, *arguments, "--").decode("utf-8", "replace")
        parts = text.split("\0")
        return [_revision(*parts[place : place + 5]) for place in range(0, len(parts) - 4, 5)]

    def _caps(self) -> Caps:
        return Caps(self._settings.git_timeout, self.folder, self._settings.git_repository_bytes)

    def _git(self, *arguments: str, out: Callable[[bytes], None] | None = None) -> bytes:
        """A command that stays on this machine."""
        with empty_folder(self.folder) as home:
            environment = {"GIT_ALLOW_PROTOCOL": "none", **self._place}
            return run_git(arguments, self._caps(), home=home, environment=environment, out=out, check=self._check)


class _Progress:
    """Says how far a fetch is, in git's own words without their numbers of bytes."""

    SHOWN = re.compile(r"(?P<what>(?:Receiving|Counting|Compressing) objects|Resolving deltas): +(?P<percent>\d+)%")

    def __init__(self, told: Callable[[str], None]) -> None:
        self._told = told
        self._next = 0.0

    def __call__(self, piece: bytes) -> None:
        found = self.SHOWN.findall(piece.decode("ascii", "replace"))
        if found and time.monotonic() >= self._next:
            self._next = time.monotonic() + 1.0
            self._told(f"{found[-1][0]}: {found[-1][1]} %")


class _Counter:
    """Ends a listing as soon as it is more than a snapshot may hold."""

    def __init__(self, caps: TreeCaps) -> None:
        self._caps = caps
        self._entries = self._bytes = 0
        self._rest = b""

    def __call__(self, piece: bytes) -> None:
        *entries, self._rest = (self._rest + piece).split(b"\0")
        self._entries += len(entries)
        for entry in entries:
            size = entry.partition(b"\t")[0].split()[3]
            self._bytes += int(size) if size.isdigit() else 0
        if self._entries > self._caps.entries or self._bytes > self._caps.unpacked:
            raise GitError("git_snapshot_too_large", bytes=self._caps.unpacked, entries=self._caps.entries)


def _revision(identifier: str, seconds: str, author: str, message: str, source: str) -> Revision:
    try:
        moment = datetime.fromtimestamp(int(seconds), UTC)
    except (ValueError, OverflowError, OSError):
        moment = datetime.fromtimestamp(0, UTC)
    prefix = next((prefix for prefix in KINDS if source.startswith(prefix)), source)
    name = source.removeprefix(prefix)[:MOST_NAME]
    return Revision(identifier.strip(), moment, _line(author, MOST_NAME), _line(message, MOST_MESSAGE), name)


def _line(text: str, most: int) -> str:
    return "".join(char for char in text if char.isprintable())[:most]
