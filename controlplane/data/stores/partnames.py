"""Names of uploads in parts, and of the parts in stores where each is an object of its own. Pure but for the tokens."""

from __future__ import annotations

import hashlib
import re
import secrets

from controlplane.data.stores.base import ObjectInfo, StoreError

# No listing shows what is below; keys of the control plane begin with a project's id or with `logs`.
PARTS = ".parts/"
TOKEN = re.compile(r"[0-9a-f]{32}")


def new_upload() -> str:
    """A token that names an upload, and marks the object that it becomes."""
    return secrets.token_hex(16)


def check_upload(token: str) -> str:
    """The token itself. Raises StoreError `bad_name`."""
    if not TOKEN.fullmatch(token):
        raise StoreError("bad_name", "there is no upload of that name")
    return token


def part_prefix(key: str, upload: str) -> str:
    """Where the parts of an upload lie, in stores that put objects together: bound to the key and to the upload."""
    return f"{PARTS}{hashlib.sha256(key.encode()).hexdigest()[:32]}-{check_upload(upload)}/"


def part_key(key: str, upload: str, number: int) -> str:
    """Key of a part."""
    return f"{part_prefix(key, upload)}{number:05d}"


def check_parts(found: list[ObjectInfo], count: int, size: int) -> None:
    """Raise StoreError when these are not parts 1 to `count` of `size` bytes together."""
    numbers = [info.key.rpartition("/")[2] for info in found]
    if numbers != [f"{number:05d}" for number in range(1, count + 1)]:
        raise StoreError("not_found", f"{count} parts were announced, {len(found)} are there")
    total = sum(info.size for info in found)
    if total != size:
        raise StoreError("bad_size", f"{size} bytes were announced, {total} came")
