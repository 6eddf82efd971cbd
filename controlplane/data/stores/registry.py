"""Which store keeps what, and one object for each store's row."""

from __future__ import annotations

import json
from collections.abc import Callable

from sqlalchemy import select
from sqlalchemy.orm import Session

from controlplane.data.stores.base import ObjectStore, StoreError
from controlplane.environments.models import Store


class StoreRegistry:
    """Opens stores by row; an opened one is kept until its description changes, in whatever process."""

    def __init__(self, open_store: Callable[[Store], ObjectStore]) -> None:
        self._open = open_store
        self._opened: dict[str, tuple[str, ObjectStore]] = {}

    def of_row(self, row: Store) -> ObjectStore:
        """The store of this row. Raises StoreError for one that can't be opened."""
        described = json.dumps([row.kind, row.config, row.secrets, row.organization_id], sort_keys=True)
        known = self._opened.get(row.id)
        if known is not None and known[0] == described:
            return known[1]
        opened = self._open(row)
        self._opened[row.id] = (described, opened)
        return opened

    def by_id(self, session: Session, store_id: str) -> ObjectStore:
        """The store with this id. Raises StoreError `not_found`."""
        row = session.get(Store, store_id)
        if row is None:
            raise StoreError("not_found", "no such store")
        return self.of_row(row)

    def find(self, session: Session, installation_id: str, purpose: str) -> tuple[Store, ObjectStore]:
        """The installation's first store for a purpose. Raises StoreError `not_found`."""
        query = select(Store).where(Store.installation_id == installation_id, Store.purpose == purpose)
        row = session.scalars(query.order_by(Store.created_at, Store.id).limit(1)).first()
        if row is None:
            raise StoreError("not_found", f"the installation has no store for {purpose}")
        return row, self.of_row(row)

    def embedded(self, session: Session, purpose: str) -> ObjectStore:
        """The control plane's own store for a purpose: that of the oldest installation."""
        query = select(Store).where(Store.purpose == purpose).order_by(Store.created_at, Store.id).limit(1)
        row = session.scalars(query).first()
        if row is None:
            raise StoreError("not_found", f"no store for {purpose}: import an installation first")
        return self.of_row(row)
