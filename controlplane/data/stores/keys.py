"""Names that every store can keep, and that a person's machine can hold after a download. Pure."""

from __future__ import annotations

from controlplane.data.stores.base import StoreError

MAX_PART_BYTES = 255
MAX_KEY = 900
# Names of devices on some people's machines, with or without an extension.
DEVICES = frozenset({"con", "prn", "aux", "nul", *(f"{kind}{n}" for kind in ("com", "lpt") for n in range(1, 10))})


def check_key(key: str) -> str:
    """The key itself, if every part of it is a plain name of at most 255 bytes. Raises StoreError `bad_name`."""
    if len(key) > MAX_KEY:
        raise StoreError("bad_name", f"the name {key[:60]!r}… is longer than {MAX_KEY} characters")
    for part in key.split("/"):
        why = _why_bad(part)
        if why:
            raise StoreError("bad_name", f"{key[:100]!r} can't be stored: {why}")
    return key


def _why_bad(part: str) -> str:
    if part in ("", ".", ".."):
        return "a part between two '/' is empty, '.' or '..'"
    if any(ord(char) < 32 or char in "\\\x7f" or 0xD800 <= ord(char) <= 0xDFFF for char in part):
        return "it holds a control character, a backslash or half a surrogate pair"
    if len(part.encode()) > MAX_PART_BYTES:
        return f"a part is longer than {MAX_PART_BYTES} bytes"
    if part.partition(".")[0].rstrip(" ").lower() in DEVICES:
        return f"{part!r} is the name of a device"
    return ""
