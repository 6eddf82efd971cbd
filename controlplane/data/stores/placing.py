"""Where a row of an installation's store says that it is. Pure."""

from __future__ import annotations

from typing import Any

NAMES = {"s3": ("bucket",), "gcs": ("bucket",), "azure": ("account_name", "container_name"), "swift": ("container",)}


def placed(kind: str, config: dict[str, Any]) -> dict[str, Any]:
    """A row's description; `location` of an installation document is taken apart into the fields of its kind."""
    values = dict(config)
    location = str(values.pop("location", ""))
    location = location.partition("://")[2] or location
    if not location:
        return values
    parts = location.split("/", len(NAMES[kind]))
    return {**dict(zip((*NAMES[kind], "prefix"), parts, strict=False)), **values}
