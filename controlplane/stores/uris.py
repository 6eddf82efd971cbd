"""Addresses of objects in stores, with wildcards: `*` within a name, `**` over any number of folders. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import re2

from controlplane.data.stores.placing import placed

SCHEMES = {"s3": "s3", "gcs": "gs", "azure": "azure", "swift": "swift"}
STORE_SCHEMES = frozenset(SCHEMES.values())
# An address names a bucket, or an account and a container in it; the rest is the key.
PLACES = {"azure": 2, "swift": 2}
API_TYPES = {"s3": "s3", "gcs": "google", "azure": "azure", "swift": "swift", "folder": "folder"}
KINDS = {name: kind for kind, name in API_TYPES.items() if kind != "folder"}


def root_of(kind: str, config: dict[str, Any], store_id: str = "") -> str:
    """What the addresses of a store's objects begin with."""
    if kind == "folder":
        return f"folder://{store_id}/"
    values = placed(kind, config)
    prefix = str(values.get("prefix", "")).strip("/")
    places = {
        "s3": (values.get("bucket"),),
        "gcs": (values.get("bucket"),),
        "azure": (values.get("account_name"), values.get("container_name")),
        "swift": (values.get("project_name") or "project", values.get("container")),
    }
    place = "/".join(str(part) for part in places[kind])
    return f"{SCHEMES[kind]}://{place}/{f'{prefix}/' if prefix else ''}"


def key_of(uri: str) -> str:
    """The key in an address of a store, as it is written."""
    scheme, _, rest = uri.partition("://")
    return "/".join(rest.split("/")[PLACES.get(scheme, 1) :])


def is_pattern(uri: str) -> bool:
    """Whether the address names several objects."""
    return "*" in uri


@dataclass(frozen=True)
class Pattern:
    """A wildcard address below a store's root.

    `prefix` is what every key begins with, up to the first wildcard; `folder` is the part of it that ends with `/`:
    what `keep-directories: suffix` leaves out. `deep`: folders below have to be looked into.
    """

    prefix: str
    folder: str
    deep: bool
    expression: Any

    def matches(self, key: str) -> bool:
        """Whether the key is meant."""
        return self.expression.fullmatch(key) is not None


def parse_pattern(key: str) -> Pattern:
    """The pattern of a key with wildcards."""
    prefix = key[: key.index("*")]
    folder = prefix[: prefix.rfind("/") + 1]
    # RE2 reads a key once, however many wildcards somebody writes.
    expression = re2.compile(f"(?s){_expression(key)}")
    return Pattern(prefix, folder, "/" in key[len(folder) :] or "**" in key, expression)


def _expression(key: str) -> str:
    """`a/**/b*` as a regular expression."""
    found = ""
    for piece in re.split(r"(\*\*/|\*+)", key):
        if piece == "**/":
            found += r"(?:[^/]+/)*"
        elif piece.startswith("**"):
            found += r".*"
        elif piece == "*":
            found += r"[^/]*"
        else:
            found += re2.escape(piece)
    return found
