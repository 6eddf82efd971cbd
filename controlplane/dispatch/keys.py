"""Signing keys of an installation, opened from the vault."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from controlplane.clock import Clock
from controlplane.environments.models import InstallationKey
from controlplane.security.vault import Vault
from worker_bootstrap.protocol import crypto


def make_key(session: Session, vault: Vault, clock: Clock, installation_id: str) -> InstallationKey:
    """A new signing key of an installation."""
    key = crypto.SigningKey.generate()
    row = InstallationKey(
        id=key.id,
        installation_id=installation_id,
        public=crypto.b64(key.public),
        private=vault.encrypt(crypto.b64(key.raw), f"installation-key:{key.id}"),
        created_at=clock(),
    )
    session.add(row)
    return row


class KeyRing:
    """Opened keys, kept in memory."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault
        self._opened: dict[str, crypto.SigningKey] = {}

    def signing(self, session: Session, installation_id: str) -> crypto.SigningKey:
        """The newest key that is not retired. Raises LookupError without one."""
        rows = self._rows(session, installation_id)
        if not rows:
            raise LookupError(f"installation {installation_id} has no signing key")
        row = rows[0]
        if row.id not in self._opened:
            raw = self._vault.decrypt(row.private, f"installation-key:{row.id}")
            self._opened[row.id] = crypto.SigningKey(crypto.unb64(raw))
        return self._opened[row.id]

    def public(self, session: Session, installation_id: str) -> list[str]:
        """Base64 public keys that workers accept."""
        return [row.public for row in self._rows(session, installation_id)]

    @staticmethod
    def _rows(session: Session, installation_id: str) -> list[InstallationKey]:
        query = select(InstallationKey).where(
            InstallationKey.installation_id == installation_id, InstallationKey.retired_at.is_(None)
        )
        return list(session.scalars(query.order_by(InstallationKey.created_at.desc(), InstallationKey.id)))
