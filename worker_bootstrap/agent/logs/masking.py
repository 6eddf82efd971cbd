"""Hiding secrets in a stream of bytes, also when a secret comes in several pieces. Pure."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable
from urllib.parse import quote, quote_plus

MIN_SECRET = 8
MASK = b"***"


def forms(secret: str) -> set[bytes]:
    """How a secret may look in a log: plain, URL, JSON, base64 (whatever stands before it). Line by line.

    Anything shorter than MIN_SECRET characters is left alone: hiding it would hide common words.
    """
    found: set[bytes] = set()
    for text in {secret, *secret.splitlines()}:
        found |= _text_forms(text) | _base64_forms(text.encode("utf-8", "surrogatepass"))
    return {form for form in found if len(form) >= MIN_SECRET and b"\n" not in form}


class Masker:
    """Finds any form of any secret."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._forms: list[bytes] = []
        self._starts: dict[int, list[bytes]] = {}
        self.longest = 0
        self.add(secrets)

    def add(self, secrets: Iterable[str]) -> None:
        """Hide these too."""
        known = set(self._forms)
        for secret in secrets:
            known |= forms(secret)
        self._forms = sorted(known, key=len, reverse=True)
        self._starts = {}
        for form in self._forms:
            self._starts.setdefault(form[0], []).append(form)
        self.longest = len(self._forms[0]) if self._forms else 0

    def spans(self, data: bytes) -> list[tuple[int, int]]:
        """Where secrets stand, overlapping ones joined, in order."""
        found = [span for form in self._forms if form in data for span in _occurrences(form, data)]
        joined: list[tuple[int, int]] = []
        for start, end in sorted(found):
            if joined and start < joined[-1][1]:
                joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
            else:
                joined.append((start, end))
        return joined

    def hide(self, data: bytes) -> bytes:
        """The data without secrets."""
        return _replace(data, self.spans(data))

    def open_from(self, data: bytes) -> int:
        """Where a secret may begin that goes on behind the data's end; the data's length if nowhere."""
        for position in range(max(0, len(data) - self.longest + 1), len(data)):
            tail = data[position:]
            if any(form.startswith(tail) for form in self._starts.get(data[position], ())):
                return position
        return len(data)


class MaskedStream:
    """One stream: what may be the beginning of a secret is held back until it is known."""

    def __init__(self, masker: Masker) -> None:
        self._masker = masker
        self._held = b""

    def feed(self, data: bytes) -> bytes:
        """What can be shown by now."""
        if not self._masker.longest:
            return data
        data = self._held + data
        spans = self._masker.spans(data)
        cut = self._masker.open_from(data)
        for start, end in spans:
            if start < cut < end:
                # Two secrets that overlap, the second not complete: decide about both together.
                cut = start
        self._held = data[cut:]
        return _replace(data[:cut], [span for span in spans if span[1] <= cut])

    def flush(self) -> bytes:
        """The rest: nothing follows."""
        rest, self._held = self._held, b""
        return self._masker.hide(rest)


def _text_forms(text: str) -> set[bytes]:
    if len(text) < MIN_SECRET:
        return set()
    quoted = {quote(text, safe=""), quote(text), quote_plus(text)}
    lower = {_lower_escapes(form) for form in quoted}
    escaped = {json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1]}
    return {form.encode("utf-8", "surrogatepass") for form in {text} | quoted | lower | escaped}


def _lower_escapes(text: str) -> str:
    head, *rest = text.split("%")
    return "%".join([head, *(part[:2].lower() + part[2:] for part in rest)])


def _base64_forms(raw: bytes) -> set[bytes]:
    """The characters that do not depend on the bytes before and behind, for each of the three alignments."""
    if len(raw) < MIN_SECRET:
        return set()
    found = set()
    for shift in range(3):
        text = base64.b64encode(b"\0" * shift + raw)
        sure = text[-(-shift * 8 // 6) : (shift + len(raw)) * 8 // 6]
        found |= {sure, sure.replace(b"+", b"-").replace(b"/", b"_")}
    return found


def _occurrences(form: bytes, data: bytes) -> Iterable[tuple[int, int]]:
    position = data.find(form)
    while position >= 0:
        yield position, position + len(form)
        position = data.find(form, position + 1)


def _replace(data: bytes, spans: list[tuple[int, int]]) -> bytes:
    if not spans:
        return data
    parts, position = [], 0
    for start, end in spans:
        parts += [data[position:start], MASK]
        position = end
    return b"".join([*parts, data[position:]])
