"""The code of one commit: archived, judged as an ad-hoc archive is, put into the code store under its digest."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from controlplane.commits.archive import MAX_ENTRIES, MAX_UNPACKED, read_yaml
from controlplane.commits.config import judge
from controlplane.errors import ValidationError
from controlplane.git.errors import GitError
from controlplane.git.mirror import Mirror, TreeCaps
from controlplane.settings import Settings


@dataclass(frozen=True)
class Snapshot:
    """With `errors` nothing was stored, and nothing runs from it."""

    key: str = ""
    sha256: str = ""
    size: int = 0
    text: str = ""
    config: dict[str, Any] | None = None
    errors: list[str] = field(default_factory=list)


def make_snapshot(
    mirror: Mirror, identifier: str, project: str, yaml_path: str, settings: Settings, store: Callable[[str, Path], Any]
) -> Snapshot:
    """The snapshot of a commit that the mirror has, whose lock the caller holds; `store(key, file)` keeps it.

    Raises GitError when `git` fails; what is wrong with the commit itself is in `errors`.
    """
    caps = TreeCaps(MAX_ENTRIES, MAX_UNPACKED, settings.max_package_bytes)
    try:
        with mirror.archive(identifier, caps) as archive:
            text = read_yaml(archive, yaml_path, settings.max_yaml_bytes)
            config = judge(text, yaml_path)
            digest = _digest(archive)
            key = f"{project}/{digest}.tar.gz"
            store(key, archive)
            return Snapshot(key, digest, archive.stat().st_size, text.decode("utf-8-sig"), config)
    except ValidationError as error:
        return Snapshot(errors=[text for found in error.fields.values() for text, _ in found])
    except GitError as error:
        if error.code != "git_snapshot_too_large":
            raise
        return Snapshot(errors=[str(error)])


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
