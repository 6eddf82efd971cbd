"""An archive of code where its workers fetch it: in their installation's own store, copied when it is asked for."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from controlplane.data.stores.base import ObjectStore, StoreError, find


def copy_once(source: ObjectStore, target: ObjectStore, key: str) -> None:
    """Let `target` hold the object of `source`; nothing is done where it has it already. Raises StoreError."""
    if find(target, key) is not None:
        return
    with tempfile.TemporaryDirectory(prefix="remora-code-") as folder:
        path = Path(folder) / "archive"
        with source.open(key) as reader, path.open("wb") as writer:
            shutil.copyfileobj(reader, writer)
        try:
            target.put_file(key, path)
        except StoreError as error:
            # Another worker's request was quicker.
            if error.code != "exists":
                raise
