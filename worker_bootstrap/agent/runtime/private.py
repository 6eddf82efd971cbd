"""Images that were got with somebody's credential: every use of one is asked for at its registry again.

An engine keeps one store of images for everybody on the machine. Repositories that were pulled with a credential are
written down before the first byte comes, so that no crash leaves such an image without its mark.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from pathlib import Path

from worker_bootstrap.agent.files import read_json, write_json
from worker_bootstrap.protocol.images import parse_image


class PrivateImages:
    """Names of repositories, kept in a file. Thread-safe."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._repositories = frozenset[str](read_json(path, []))

    def note(self, image: str) -> None:
        """From now on this image's repository is a private one. Raises OSError when that can't be kept."""
        with self._lock:
            known = self._repositories | {parse_image(image).repository}
            if known != self._repositories:
                write_json(self._path, sorted(known))
                self._repositories = known

    def has(self, image: str) -> bool:
        """Whether this name is one of a private repository."""
        return parse_image(image).repository in self._repositories

    def covers(self, image: str, names: Iterable[str] | None) -> bool:
        """Whether the registry must be asked before `image` is used, which the engine has under these `names` or not.

        An image that also has a name of another repository may be used by that; a bare id is nobody's name.
        """
        if self.has(image):
            return True
        return names is not None and bool(self._repositories) and all(map(self.has, names))
