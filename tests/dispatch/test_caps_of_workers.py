"""What a worker sends beyond the caps is left out, and said once; the rest goes on."""

from __future__ import annotations

from sqlalchemy import func, select

from controlplane.executions.events import EventBook
from controlplane.executions.models import ExecutionEvent, MetadataPoint
from controlplane.limits import POINTS
from fixtures.executions import NOW, Ground

MOMENT = "2026-03-01T12:00:00"


def test_points_beyond_the_cap(ground: Ground) -> None:
    with ground.begin() as session:
        execution = ground.add_execution(session, state="started", metadata_points=POINTS.most - 1)
        attempt = ground.add_attempt(session, execution)
        book = EventBook(session, NOW)
        for loss in (3, 2, 1):
            book.apply(attempt, execution, "metadata", {"points": [[MOMENT, {"loss": loss}]]})
            session.flush()
        assert session.scalar(select(func.count()).select_from(MetadataPoint)) == 1
        assert execution.cumulative_metadata == {"loss": 1}
        said = session.scalars(select(ExecutionEvent.message).where(ExecutionEvent.execution_id == execution.id)).all()
    assert said == ["An execution has at most 1,000,000 points of metadata; what is above is left out."]
