"""access.json: address and first login, for the person who started Remora on this machine."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from controlplane.embedded.errors import SetupError
from controlplane.embedded.files import write_private


@dataclass(frozen=True)
class Access:
    """What one needs to begin."""

    url: str
    user: str
    password: str
    token: str


def read_access(path: Path) -> Access | None:
    """The file's content; None when there is no file. Raises SetupError for a broken one."""
    if not path.exists():
        return None
    try:
        return Access(**json.loads(path.read_text()))
    except (ValueError, TypeError) as error:
        raise SetupError(f"{path} is broken: remove it and run `remora server reset-password NAME`.") from error


def write_access(path: Path, access: Access) -> None:
    """Write the file (0600)."""
    write_private(path, json.dumps(asdict(access), indent=2) + "\n")
