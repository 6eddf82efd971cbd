"""Unpacking a code snapshot that may be hostile: nothing is written outside of its folder, nothing without bounds.

Links are made last, so no file is ever written through one; every entry is judged by its name before anything is
created; tarfile is used to read headers only.
"""

from __future__ import annotations

import gzip
import os
import tarfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

CHUNK = 1 << 20
MAX_HEADER = 1 << 20
MAX_NAME_BYTES = 4096
MAX_PART_BYTES = 255


class BadArchiveError(ValueError):
    """The archive is broken, or would do harm. The message names the entry."""


@dataclass(frozen=True)
class Limits:
    """Entries, and bytes after unpacking."""

    files: int
    total_bytes: int


@dataclass
class _State:
    count: int = 0
    size: int = 0
    links: list[tuple[str, str]] = field(default_factory=list)
    made: set[str] = field(default_factory=set)


class _Bounded:
    """A reader that stops a bomb: by the bytes that came out, and by the size of one header."""

    def __init__(self, inner: IO[bytes], most: int) -> None:
        self._inner = inner
        self._most = most

    def read(self, size: int = -1) -> bytes:
        if size < 0 or size > MAX_HEADER:
            raise BadArchiveError("a header is too large")
        data = self._inner.read(size)
        if self._inner.tell() > self._most:
            raise BadArchiveError(f"it unpacks to more than {self._most} bytes")
        return data

    def seek(self, position: int, whence: int = 0) -> int:
        if position > self._most:
            raise BadArchiveError(f"it unpacks to more than {self._most} bytes")
        return self._inner.seek(position, whence)

    def tell(self) -> int:
        return self._inner.tell()


def unpack(archive: Path, folder: Path, limits: Limits) -> int:
    """Extract a gzipped tar into the existing empty `folder`; returns the entries. Raises BadArchiveError, OSError."""
    state = _State()
    overhead = 4096 * (limits.files + 16)
    try:
        with gzip.open(archive, "rb") as plain:
            source: Any = _Bounded(plain, limits.total_bytes + overhead)  # type: ignore[arg-type]
            with tarfile.open(fileobj=source, mode="r:") as tar:
                while (member := tar.next()) is not None:
                    tar.members = []  # pyright: ignore[reportAttributeAccessIssue]
                    _entry(tar, member, folder, limits, state)
    except BadArchiveError:
        raise
    except (tarfile.TarError, EOFError, gzip.BadGzipFile, zlib.error, ValueError, OverflowError) as error:
        raise BadArchiveError(f"it can't be read: {str(error)[:200]}") from error
    for name, target in state.links:
        _make_link(folder, name, target)
    _check_links(folder, [name for name, _ in state.links])
    return state.count


def safe_name(name: str) -> str:
    """The relative path of an entry, normalised; empty for the root itself. Raises BadArchiveError."""
    shown = ascii(name[:120])
    if name.startswith("/") or "\0" in name or len(os.fsencode(name)) > MAX_NAME_BYTES:
        raise BadArchiveError(f"entry {shown} is absolute, or its name is not usable")
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if any(part == ".." or len(os.fsencode(part)) > MAX_PART_BYTES for part in parts):
        raise BadArchiveError(f"entry {shown} leaves the archive")
    return "/".join(parts)


def safe_link(name: str, target: str) -> str:
    """The target of a symbolic link, if it stays inside. Raises BadArchiveError."""
    depth = name.count("/")
    for part in target.split("/"):
        if part == "..":
            depth -= 1
        elif part not in ("", "."):
            depth += 1
        if depth < 0:
            break
    if not target or target.startswith("/") or "\0" in target or depth < 0:
        raise BadArchiveError(f"link {ascii(name[:120])} leaves the archive")
    return target


def _entry(tar: tarfile.TarFile, member: tarfile.TarInfo, folder: Path, limits: Limits, state: _State) -> None:
    name = safe_name(member.name)
    state.count += 1
    if state.count > limits.files:
        raise BadArchiveError(f"it has more than {limits.files} entries")
    if not name:
        return
    shown = ascii(name[:120])
    path = folder / name
    if member.isdir():
        _make_folder(folder, name)
        return
    _make_folder(folder, name.rpartition("/")[0])
    if name in state.made:
        raise BadArchiveError(f"entry {shown} stands twice")
    state.made.add(name)
    if member.issym():
        state.links.append((name, safe_link(name, member.linkname)))
    elif member.islnk():
        _hard_link(folder, path, safe_name(member.linkname), shown)
    elif member.isreg() and not member.issparse():
        state.size += member.size
        if member.size < 0 or state.size > limits.total_bytes:
            raise BadArchiveError(f"it unpacks to more than {limits.total_bytes} bytes")
        _make_file(tar, member, path, shown)
    else:
        raise BadArchiveError(f"entry {shown} is no file, folder or link")


def _make_folder(folder: Path, name: str) -> None:
    path = folder
    for part in name.split("/") if name else []:
        path = path / part
        try:
            path.mkdir(mode=0o755)
        except FileExistsError:
            if not path.is_dir() or path.is_symlink():
                raise BadArchiveError(f"entry {ascii(name[:120])} is a file and a folder") from None


def _make_file(tar: tarfile.TarFile, member: tarfile.TarInfo, path: Path, shown: str) -> None:
    reader = tar.extractfile(member)
    if reader is None:
        raise BadArchiveError(f"entry {shown} has no content")
    mode = 0o755 if member.mode & 0o111 else 0o644
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    try:
        handle = os.open(path, flags, mode)
    except FileExistsError:
        raise BadArchiveError(f"entry {shown} is a file and a folder") from None
    left = member.size
    with os.fdopen(handle, "wb") as writer:
        while left > 0:
            chunk = reader.read(min(CHUNK, left))
            if not chunk:
                raise BadArchiveError(f"entry {shown} ends early")
            writer.write(chunk)
            left -= len(chunk)
        os.fchmod(writer.fileno(), mode)


def _hard_link(folder: Path, path: Path, target: str, shown: str) -> None:
    source = folder / target
    if not target or source.is_symlink() or not source.is_file():
        raise BadArchiveError(f"link {shown} points to nothing in the archive")
    try:
        os.link(source, path, follow_symlinks=False)
    except FileExistsError:
        raise BadArchiveError(f"entry {shown} stands twice") from None


def _check_links(folder: Path, names: list[str]) -> None:
    """Links through links: where each really leads, now that all stand."""
    root = os.path.realpath(folder)
    for name in names:
        real = os.path.realpath(folder / name)
        if real != root and not real.startswith(root + "/"):
            raise BadArchiveError(f"link {ascii(name[:120])} leaves the archive")


def _make_link(folder: Path, name: str, target: str) -> None:
    try:
        (folder / name).symlink_to(target)
    except FileExistsError:
        raise BadArchiveError(f"link {ascii(name[:120])} stands twice") from None
