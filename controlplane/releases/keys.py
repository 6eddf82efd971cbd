"""Keys that sign releases: one, or two while machines change from the former to the new one."""

from __future__ import annotations

from pathlib import Path

from controlplane.embedded.errors import SetupError
from controlplane.embedded.files import kept_key, private_folder
from worker_bootstrap.protocol import crypto


class ReleaseKeys:
    """REMORA_HOME/keys/release.key and, during a rotation, release-former.key (0600)."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._current = folder / "release.key"
        self._former = folder / "release-former.key"

    def signing(self) -> list[crypto.SigningKey]:
        """The keys that sign a release, the newest first; the first one is made when there is none. Raises OSError."""
        private_folder(self._folder)
        keys = [crypto.SigningKey(kept_key(self._current))]
        if self._former.exists():
            keys.append(crypto.SigningKey(self._former.read_bytes()))
        return keys

    def public(self) -> list[str]:
        """Base64 public keys that machines shall trust."""
        return [crypto.b64(key.public) for key in self.signing()]

    def rotate(self) -> None:
        """Begin to sign with a new key too. Raises SetupError while a rotation goes on."""
        if self._former.exists():
            raise SetupError("a rotation of the release key goes on: end it with --end-rotation first.")
        self.signing()
        self._current.replace(self._former)
        self.signing()

    def end_rotation(self) -> None:
        """Sign with the new key only. Raises SetupError when none goes on."""
        if not self._former.exists():
            raise SetupError("no rotation of the release key goes on.")
        self._former.unlink()
