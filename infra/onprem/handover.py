"""The master's part of the secrets: files (0600) on the machine where the installer runs, read from the machines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from infra.files import write_private
from infra.onprem import queue, store
from infra.onprem.remote import Place, connected

STORE_FILE = "store-credentials"


async def apply(props: dict[str, Any]) -> dict[str, Any]:
    """Write the files. Raises RemoteError, OSError."""
    files = await secrets_of(props)
    folder = Path(props["folder"])
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    for name, text in files.items():
        write_private(folder / name, text)
    return {"files": sorted(files)}


async def secrets_of(props: dict[str, Any]) -> dict[str, str]:
    """File name to text of everything that the document refers to. Raises RemoteError, OSError."""
    async with connected(Place.of(props["queue"])) as session:
        files: dict[str, str] = await queue.ask(session, "handover", {"groups": list(props["groups"])})
    if props["store"]:
        files[STORE_FILE] = await store.credentials(Place.of(props["store"]))
    elif props["store_credentials"]:
        files[STORE_FILE] = Path(props["store_credentials"]).expanduser().read_text()
    return files


async def remove(props: dict[str, Any]) -> None:
    """Remove the files, and the folder when nothing else is in it. Raises OSError."""
    folder = Path(props["folder"])
    for name in props.get("files", ()):
        (folder / name).unlink(missing_ok=True)
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


def is_whole(props: dict[str, Any]) -> bool:
    """Whether every file still is where it was written."""
    return all((Path(props["folder"]) / name).is_file() for name in props.get("files", ()))
