"""Adoption as API and pages do it: the store is asked outside of the transaction that writes."""

from __future__ import annotations

from controlplane.data.models import Datum
from controlplane.data.stores.deadline import within
from controlplane.errors import ValidationError
from controlplane.stores import adoption
from controlplane.stores.inputs import BadStoreAddressError, resolve_store_uri
from controlplane.web.context import current_actor, request_session, services


def adopt_file(project_id: str, store_id: str | None, url: str) -> Datum:
    """The datum that the object at `url` is from now on; `store_id` None: of whatever store holds it.

    Raises NotFoundError, PermissionDeniedError, ValidationError, ConflictError.
    """
    actor = current_actor()
    with services().db.read(actor.scope) as session:
        project = services().projects.get(session, actor, project_id, "store.adopt")
        if store_id is None:
            try:
                store_id = resolve_store_uri(session, project, url)[0].id
            except BadStoreAddressError as error:
                raise ValidationError({"url": (str(error), adoption.NOT_FOUND)}) from error
        row = services().added_stores.usable(session, project, store_id)
        key, known = adoption.find(session, project, row, url)
    if known is not None:
        return known
    with within(services().settings.store_test_timeout):
        info = adoption.look(services().stores, row, key)
    writing = request_session()
    project = services().projects.get(writing, actor, project_id, "store.adopt")
    return adoption.adopt(writing, actor, project, row, info, url, services().clock)
