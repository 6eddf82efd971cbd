"""Which datums an execution has as inputs, as rows: lineage is asked from both ends."""

from __future__ import annotations

from controlplane.data.models import DatumUse
from controlplane.executions.models import Execution

DATUM = "datum://"


def uses(execution: Execution) -> list[DatumUse]:
    """A row for each input and datum of a new execution; addresses are resolved already."""
    found = {
        (name, uri.removeprefix(DATUM)): None
        for name, uris in execution.inputs.items()
        for uri in uris
        if uri.startswith(DATUM)
    }
    return [
        DatumUse(organization_id=execution.organization_id, execution_id=execution.id, input=name, datum_id=datum)
        for name, datum in found
    ]
