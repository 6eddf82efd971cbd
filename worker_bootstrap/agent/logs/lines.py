"""Bytes of a stream to masked lines. Pure."""

from __future__ import annotations

import base64
import json
from urllib.parse import quote

MAX_LINE = 64 * 1024
MIN_SECRET = 8
MASK = b"***"


class LineSplitter:
    """Splits one stream; a line above MAX_LINE comes in pieces that end with a mark."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        """Complete lines."""
        parts = (self._rest + data).split(b"\n")
        self._rest = parts.pop()
        lines = [piece for part in parts for piece in _pieces(part)]
        while len(self._rest) > MAX_LINE:
            lines.append(self._rest[:MAX_LINE] + b" \xe2\x80\xa6")
            self._rest = self._rest[MAX_LINE:]
        return lines

    def flush(self) -> list[bytes]:
        """What is left without a line's end."""
        rest, self._rest = self._rest, b""
        return _pieces(rest) if rest else []


def _pieces(line: bytes) -> list[bytes]:
    line = line.removesuffix(b"\r")
    if len(line) <= MAX_LINE:
        return [line]
    cuts = [line[i : i + MAX_LINE] for i in range(0, len(line), MAX_LINE)]
    return [cut + b" \xe2\x80\xa6" for cut in cuts[:-1]] + [cuts[-1]]


def forms(secret: str) -> set[bytes]:
    """How a secret may look in a log: plain, URL, JSON, base64 at three alignments."""
    raw = secret.encode()
    if len(raw) < MIN_SECRET:
        return set()
    found = {raw, quote(secret, safe="").encode(), json.dumps(secret)[1:-1].encode()}
    for shift in range(3):
        encoded = base64.b64encode(b"\0" * shift + raw)
        found.add(encoded[(0, 2, 3)[shift] : len(encoded) - 4].rstrip(b"="))
    return {form for form in found if len(form) >= MIN_SECRET}


class Masker:
    """Hides secrets in lines. Works on whole lines, so a secret split over two writes is found."""

    def __init__(self, secrets: list[str]) -> None:
        every = {form for secret in secrets for part in {secret, *secret.splitlines()} for form in forms(part)}
        self._forms = sorted(every, key=len, reverse=True)

    def hide(self, line: bytes) -> bytes:
        """The line without secrets."""
        for form in self._forms:
            line = line.replace(form, MASK)
        return line
