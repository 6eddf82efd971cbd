"""Which names an output may have: the rules that every store keeps. Pure."""

from __future__ import annotations

MAX_PART = 255
MAX_NAME = 512
# Names of devices on some people's machines, with or without an extension.
DEVICES = frozenset({"con", "prn", "aux", "nul", *(f"{kind}{n}" for kind in ("com", "lpt") for n in range(1, 10))})


def bad_output_name(name: str) -> str:
    """Why a relative name can't be stored; empty when it can."""
    if any(0xD800 <= ord(char) <= 0xDFFF for char in name):
        return "its name is not UTF-8"
    if any(ord(char) < 32 or ord(char) == 127 for char in name):
        return "its name has a control character"
    if "\\" in name:
        return "its name has a backslash"
    parts = name.split("/")
    if any(part in ("", ".", "..") for part in parts):
        return "its name has an empty part, `.` or `..`"
    if any(len(part.encode()) > MAX_PART for part in parts):
        return f"a part of its name is longer than {MAX_PART} bytes"
    if any(part.partition(".")[0].rstrip(" ").lower() in DEVICES for part in parts):
        return "a part of its name is that of a device on other systems"
    if len(name.encode()) > MAX_NAME:
        return f"its name is longer than {MAX_NAME} bytes"
    return ""


def shown(name: str) -> str:
    """A name for a status line: printable, not too long."""
    text = ascii(name)
    return text if len(text) <= 160 else f"{text[:157]}..."


def safe_relative(path: str) -> bool:
    """Whether a relative path stays below the folder that it is joined to."""
    parts = path.split("/")
    return bool(path) and "\0" not in path and not any(part in ("", ".", "..") for part in parts)
