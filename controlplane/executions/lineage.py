"""Which datums an execution has as inputs, as rows: lineage is asked from both ends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from controlplane.data.models import DatumUse
from controlplane.executions.models import Execution

DATUM = "datum://"


def uses(execution: Execution, matched: Mapping[str, Sequence[str]]) -> list[DatumUse]:
    """A row for each input and datum of a new execution; addresses are resolved already.

    `matched`: {address with a wildcard: ids of datums that it stands for}.
    """
    found = {
        (name, datum): None
        for name, uris in execution.inputs.items()
        for uri in uris
        for datum in _datums(uri, matched)
    }
    return [
        DatumUse(organization_id=execution.organization_id, execution_id=execution.id, input=name, datum_id=datum)
        for name, datum in found
    ]


def _datums(uri: str, matched: Mapping[str, Sequence[str]]) -> Sequence[str]:
    return [uri.removeprefix(DATUM)] if uri.startswith(DATUM) else matched.get(uri, ())
