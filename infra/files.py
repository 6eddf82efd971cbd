"""Files of whoever runs the installer: written whole, for nobody else."""

from __future__ import annotations

import os
from pathlib import Path


def write_private(path: Path, text: str) -> None:
    """Replace `path` at once by `text`, mode 0600. Raises OSError."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w") as writer:
        writer.write(text)
        writer.flush()
        os.fsync(writer.fileno())
    temporary.replace(path)
