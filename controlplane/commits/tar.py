"""A reader of tar.gz that trusts nothing: headers only, within caps, and nothing is written.

Python's `tarfile` believes sizes of extended headers before it reads them; here each is small or refused, and whatever
is not a plain file, folder or link has no name at all.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

BLOCK = 512
CHUNK = 1 << 16
MAX_EXTENDED = 16 * 1024
FILE, FOLDER, SYMLINK, HARDLINK = "file", "folder", "symlink", "hardlink"
_KINDS = {b"0": FILE, b"\0": FILE, b"7": FILE, b"5": FOLDER, b"2": SYMLINK, b"1": HARDLINK}
_IGNORED_KEYS = ("mtime", "atime", "ctime", "uid", "gid", "uname", "gname", "comment", "SCHILY.", "LIBARCHIVE.")


class BadTarError(ValueError):
    """The archive is broken or holds what code archives never do; the message says what."""


@dataclass(frozen=True)
class Entry:
    """One entry. `size` is bytes of content; `offset` the place of its header in the unpacked stream."""

    name: str
    kind: str
    size: int
    target: str
    mode: int
    offset: int


class Inflater:
    """Bytes of a gzip stream in order; refuses to give more than `limit` of them."""

    def __init__(self, source: BinaryIO, limit: int) -> None:
        self._source = source
        self._limit = limit
        self._box = zlib.decompressobj(zlib.MAX_WBITS | 16)
        self._ready = b""
        self.given = 0

    def read(self, size: int) -> bytes:
        """Up to `size` bytes; fewer only at the end. Raises BadTarError."""
        parts: list[bytes] = []
        left = size
        while left > 0:
            if not self._ready and not self._fill():
                break
            part, self._ready = self._ready[:left], self._ready[left:]
            parts.append(part)
            left -= len(part)
        self.given += size - left
        return b"".join(parts)

    def skip(self, size: int) -> None:
        """Pass over `size` bytes. Raises BadTarError when there are fewer."""
        while size > 0:
            part = self.read(min(size, CHUNK))
            if not part:
                raise BadTarError("ends in the middle of an entry")
            size -= len(part)

    def _fill(self) -> bool:
        while not self._ready:
            packed = self._box.unconsumed_tail or self._source.read(CHUNK)
            if self._box.eof:
                rest = self._box.unused_data or packed
                if not rest:
                    return False
                raise BadTarError("has bytes after its end")
            if not packed:
                raise BadTarError("is cut off")
            try:
                self._ready = self._box.decompress(packed, CHUNK)
            except zlib.error as error:
                raise BadTarError(f"is no gzip file: {error}") from error
            if self.given + len(self._ready) > self._limit:
                raise BadTarError(f"unpacks to more than {self._limit} bytes")
        return True


def entries(stream: Inflater) -> Iterator[Entry]:
    """Every entry in order. The caller may read up to `size` bytes of content from `stream` before going on.

    Raises BadTarError.
    """
    while (header := _header(stream)) is not None:
        extended: dict[str, str] = {}
        while header.kind_byte in b"xgLK" and header.kind_byte:
            extended.update(_extension(stream, header))
            following = _header(stream)
            if following is None:
                raise BadTarError("ends after an extended header")
            header = following
        entry = _entry(header, extended)
        end = stream.given + entry.size + _padding(entry.size)
        yield entry
        stream.skip(end - stream.given)
    if stream.read(CHUNK).strip(b"\0"):
        raise BadTarError("has bytes after its end")
    while rest := stream.read(CHUNK):
        if rest.strip(b"\0"):
            raise BadTarError("has bytes after its end")


@dataclass(frozen=True)
class _Header:
    name: str
    kind_byte: bytes
    size: int
    target: str
    mode: int
    offset: int


def _header(stream: Inflater) -> _Header | None:
    offset = stream.given
    block = stream.read(BLOCK)
    if not block or not block.strip(b"\0"):
        return None
    if len(block) != BLOCK:
        raise BadTarError("ends in the middle of a header")
    expected = _number(block[148:156])
    if expected != sum(block[:148]) + sum(block[156:]) + 8 * 32:
        raise BadTarError(f"has a broken header at byte {offset}")
    name = _text(block[:100])
    if block[257:263] == b"ustar\0" and (prefix := _text(block[345:500])):
        name = f"{prefix}/{name}"
    return _Header(
        name, block[156:157], _number(block[124:136]), _text(block[157:257]), _number(block[100:108]), offset
    )


def _entry(header: _Header, extended: dict[str, str]) -> Entry:
    name = extended.get("path", header.name)
    kind = _KINDS.get(header.kind_byte)
    if kind is None:
        raise BadTarError(f"has an entry that is no file, folder or link: {name[:200]!r}")
    size = int(extended["size"]) if "size" in extended else header.size
    if kind is not FILE and size:
        raise BadTarError(f"has content in what is no file: {name[:200]!r}")
    if kind is FILE and name.endswith("/"):
        kind = FOLDER
        if size:
            raise BadTarError(f"has content in what is no file: {name[:200]!r}")
    return Entry(name, kind, size, extended.get("linkpath", header.target), header.mode, header.offset)


def _extension(stream: Inflater, header: _Header) -> dict[str, str]:
    if header.size > MAX_EXTENDED:
        raise BadTarError(f"has an extended header of {header.size} bytes")
    data = stream.read(header.size)
    stream.skip(_padding(header.size))
    if header.kind_byte in b"LK":
        return {"path" if header.kind_byte == b"L" else "linkpath": _text(data)}
    found = _records(data)
    if header.kind_byte == b"g" and found:
        raise BadTarError("sets names or sizes for all its entries")
    return found


def _records(data: bytes) -> dict[str, str]:
    """The records `LENGTH KEY=VALUE\\n` of a pax header that say a name, a link or a size."""
    found: dict[str, str] = {}
    place = 0
    while place < len(data) and data[place : place + 1] != b"\0":
        length_text, blank, _ = data[place : place + 12].partition(b" ")
        if not blank or not length_text.isdigit():
            raise BadTarError("has a broken extended header")
        record = data[place : place + int(length_text)]
        key, equals, value = record[len(length_text) + 1 : -1].partition(b"=")
        if len(record) != int(length_text) or record[-1:] != b"\n" or not equals:
            raise BadTarError("has a broken extended header")
        name = key.decode("utf-8", "replace")
        if name in ("path", "linkpath"):
            found[name] = _utf8(value)
        elif name == "size" and value.isdigit() and len(value) < 16:
            found[name] = value.decode()
        elif not name.startswith(_IGNORED_KEYS):
            raise BadTarError(f"has an extended header of an unknown kind: {name[:80]!r}")
        place += int(length_text)
    return found


def _padding(size: int) -> int:
    return -size % BLOCK


def _number(field: bytes) -> int:
    """An octal field, or GNU's base-256 form of large sizes."""
    if field[:1] == b"\x80":
        value = int.from_bytes(field[1:], "big")
        if value >= 1 << 50:
            raise BadTarError("has an entry of impossible size")
        return value
    text = field.rstrip(b"\0 ").lstrip(b" ")
    try:
        return int(text or b"0", 8) if not text.startswith((b"-", b"+")) and b"_" not in text else _broken()
    except ValueError:
        return _broken()


def _broken() -> int:
    raise BadTarError("has a broken number in a header")


def _text(field: bytes) -> str:
    return _utf8(field.partition(b"\0")[0])


def _utf8(value: bytes) -> str:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        raise BadTarError(f"has a name that is not UTF-8: {value[:80]!r}") from None
