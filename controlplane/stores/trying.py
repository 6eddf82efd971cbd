"""The connection test as API and pages give it."""

from __future__ import annotations

from typing import Any

from controlplane.data.stores.base import StoreError
from controlplane.stores.connection import ConnectionTest, Step
from controlplane.web.context import current_actor, services


def try_store(store_id: str) -> dict[str, Any]:
    """{ok, steps: [{name, ok, needed, sentence, remedy}]} of a store that the actor manages.

    `remedy` is empty where all is well; a step that is not `needed` spoils nothing. Raises NotFoundError,
    PermissionDeniedError.
    """
    actor = current_actor()
    with services().db.read(actor.scope) as session:
        row = services().added_stores.get(session, actor, store_id, "store.manage")
    try:
        store = services().stores.of_row(row)
    except StoreError as error:
        return _shown([Step("open", False, f"{error}.", "Set what is missing.")])
    http, settings = services().opener.remote.way(row), services().settings
    return _shown(ConnectionTest(row.kind, store, http, settings.public_url, settings.store_test_timeout).run())


def _shown(steps: list[Step]) -> dict[str, Any]:
    return {
        "ok": all(step.ok for step in steps if step.needed),
        "steps": [
            {"name": s.name, "ok": s.ok, "needed": s.needed, "sentence": s.sentence, "remedy": s.remedy} for s in steps
        ],
    }
