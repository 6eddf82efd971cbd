"""From a store's row to the store. Secrets of rows are sealed and opened here."""

from __future__ import annotations

import importlib
import json
from functools import cached_property
from typing import TYPE_CHECKING

from controlplane.clock import Clock
from controlplane.data.stores.base import ObjectStore, StoreError
from controlplane.data.stores.folder import FolderStore
from controlplane.environments.models import Store
from controlplane.security.signing import derive
from controlplane.security.vault import Vault, VaultError
from controlplane.settings import Settings

if TYPE_CHECKING:
    from controlplane.data.stores.remote import RemoteStores


class StoreOpener:
    """Opens stores of every kind."""

    def __init__(self, settings: Settings, secret: bytes, clock: Clock) -> None:
        self._settings = settings
        self._vault = Vault(secret)
        self._folder_key = derive(secret, "store-url")
        self._clock = clock

    def open(self, row: Store) -> ObjectStore:
        """The store that a row describes. Raises StoreError."""
        if row.kind != "folder":
            return self.remote.of_row(row, self.secrets(row))
        settings = self._settings
        return FolderStore.from_row(row, settings.public_url, self._folder_key, settings.signed_url_ttl, self._clock)

    @cached_property
    def remote(self) -> RemoteStores:
        """Those that are no folder."""
        # Loaded when the first one is opened: with its HTTP client it is 20 MB in each of our processes, and one host
        # with its folders needs none of it.
        return importlib.import_module("controlplane.data.stores.remote").RemoteStores(self._settings, self._clock)

    def seal(self, store_id: str, secrets: dict[str, str]) -> str:
        """Secrets as they are kept."""
        return self._vault.encrypt(json.dumps(secrets), _context(store_id)) if secrets else ""

    def secrets(self, row: Store) -> dict[str, str]:
        """A row's secrets in clear. Raises StoreError."""
        try:
            return json.loads(self._vault.decrypt(row.secrets, _context(row.id))) if row.secrets else {}
        except VaultError as error:
            raise StoreError("unavailable", f"the secrets of the store {row.name} do not open") from error


def _context(store_id: str) -> str:
    return f"store:{store_id}"
