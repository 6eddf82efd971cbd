"""What a worker's messages do to an execution, on both databases."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

from controlplane.data.models import Datum, DatumAlias
from controlplane.executions.models import FINAL, Attempt, Execution, ExecutionEvent, MetadataPoint, UsageSample
from controlplane.executions.transitions import LEGAL, IllegalTransitionError, Transitions
from controlplane.logs.models import LogSegment
from fixtures.executions import NOW, Ground
from worker_bootstrap.protocol.errors import ProtocolError
from worker_bootstrap.protocol.messages import Accepted, End, Event

LATER = NOW + timedelta(seconds=30)
TIME = "2026-03-01T12:00:01.000001"
SEGMENT = {
    "first": 1, "last": 10, "lines": 10, "key": "x", "size": 100, "raw_bytes": 400, "sha256": "a" * 64,
    "counts": {"stdout": 10}, "first_time": TIME, "last_time": TIME,
}  # fmt: skip
OUTPUT = {"name": "model.bin", "size": 3, "md5": "", "sha1": "", "sha256": "b" * 64, "metadata": {}}


class Life:
    """One execution with its attempts, each message in a transaction of its own, as the consumer applies them."""

    def __init__(self, ground: Ground, max_attempts: int = 3) -> None:
        self.ground = ground
        self.max_attempts = max_attempts
        with ground.begin() as session:
            self.id = ground.add_execution(session, time_limit=60).id

    def grant(self) -> str:
        with self.ground.begin() as session:
            return self.ground.add_attempt(session, session.get_one(Execution, self.id)).id

    def say(self, attempt: str, body: Accepted | Event | End) -> None:
        with self.ground.begin() as session:
            transitions = Transitions(session, LATER, self.max_attempts)
            row = session.get_one(Attempt, attempt)
            handlers = {Accepted: transitions.on_accepted, Event: transitions.on_event, End: transitions.on_end}
            handlers[type(body)](row, body)

    def event(self, attempt: str, kind: str, **data) -> None:
        self.say(attempt, Event(kind, TIME, data))

    def lose(self, attempt: str, reason: str = "worker_lost") -> None:
        with self.ground.begin() as session:
            row = session.get_one(Attempt, attempt)
            Transitions(session, LATER, self.max_attempts).on_lost(row, "machine-1", reason)

    def stop(self) -> None:
        with self.ground.begin() as session:
            transitions = Transitions(session, LATER, self.max_attempts)
            transitions.move(session.get_one(Execution, self.id), "stopping", "stopping", {"by": "ann"})

    def run(self) -> str:
        attempt = self.grant()
        self.say(attempt, Accepted())
        self.event(attempt, "phase", phase="running", detail="")
        return attempt

    @property
    def row(self) -> Execution:
        with self.ground.begin() as session:
            return session.get_one(Execution, self.id)

    def attempt(self, attempt: str) -> Attempt:
        with self.ground.begin() as session:
            return session.get_one(Attempt, attempt)

    def rows(self, kind):
        with self.ground.begin() as session:
            return list(session.scalars(select(kind)))

    def states(self) -> list[str]:
        with self.ground.begin() as session:
            events = session.scalars(select(ExecutionEvent).order_by(ExecutionEvent.at, ExecutionEvent.id))
            return [event.message for event in events if event.kind == "state"]


@pytest.fixture
def life(ground):
    return Life(ground)


def test_the_way_of_a_good_execution(life):
    attempt = life.grant()
    life.say(attempt, Accepted())
    assert (life.row.state, life.row.started_at) == ("started", LATER)
    for phase in ("image", "inputs", "running", "uploading"):
        life.event(attempt, "phase", phase=phase, detail="")
        assert life.row.reason == f"phase_{phase}"
    life.say(attempt, End("complete", "done", TIME, 0, lines=10, last_seq=10))
    row, ended = life.row, life.attempt(attempt)
    assert (row.state, row.reason, row.exit_code, row.ended_at) == ("complete", "done", 0, LATER)
    assert (ended.state, ended.outcome, ended.log_lines, ended.log_complete) == ("ended", "complete", 10, True)
    assert life.states() == ["started", "complete"]


def test_everything_said_twice_changes_nothing(life):
    attempt = life.run()
    for _ in range(2):
        life.say(attempt, Accepted())
        life.event(attempt, "segment", **SEGMENT)
        life.event(attempt, "output", **OUTPUT)
    for _ in range(2):
        life.say(attempt, End("error", "exit_code", TIME, 3))
    life.say(attempt, End("complete", "done", TIME, 0))
    life.lose(attempt)
    assert (life.row.state, life.row.exit_code) == ("error", 3)
    assert len(life.rows(LogSegment)) == len(life.rows(Datum)) == 1
    assert life.states() == ["started", "error"]


@pytest.mark.parametrize("outcome", ["failed", "lost", "unknown", "refused"])
def test_infrastructure_is_tried_again_until_attempts_are_exhausted(life, outcome):
    for number in (1, 2):
        attempt = life.run()
        life.event(attempt, "metadata", points=[[TIME, {"loss": number}]], sampled=0)
        life.say(attempt, End(outcome, "disk_full", TIME, detail="no space"))
        row = life.row
        assert (row.state, row.reason, row.reason_args["number"]) == ("queued", "retrying", number)
        assert "no space" in row.reason_args["why"]
        assert row.cumulative_metadata == {}
    life.say(life.run(), End(outcome, "disk_full", TIME))
    row = life.row
    assert (row.state, row.reason, row.attempt_number) == ("crashed", "attempts_exhausted", 3)
    assert life.states() == ["started", "queued", "started", "queued", "started", "crashed"]


@pytest.mark.parametrize("reason", ["image_not_found", "mount_refused", "time_limit", "input_not_found"])
@pytest.mark.parametrize("outcome", ["failed", "error"])
def test_the_users_failures_are_final_at_once(life, reason, outcome):
    life.say(life.run(), End(outcome, reason, TIME, detail="x"))
    assert (life.row.state, life.row.reason) == ("error", reason)


def test_a_refused_job_goes_to_another_machine_unless_it_can_run_nowhere(life):
    life.say(life.grant(), Accepted("draining", "leaving"))
    assert (life.row.state, life.row.reason) == ("queued", "retrying")
    assert "draining leaving" in life.row.reason_args["why"]
    life.say(life.grant(), Accepted("mount_refused", "/data"))
    assert (life.row.state, life.row.reason) == ("error", "mount_refused")
    assert life.row.reason_args["detail"] == "/data"


@pytest.mark.security("N17")
def test_an_old_attempt_changes_nothing(life):
    old = life.run()
    life.say(old, End("failed", "engine_gone", TIME))
    new = life.run()
    life.event(old, "metadata", points=[[TIME, {"loss": 9}]], sampled=0)
    life.event(old, "output", **OUTPUT)
    life.event(old, "detail", status_detail="old")
    life.event(old, "phase", phase="uploading", detail="")
    life.event(old, "usage", samples=[[TIME, {"cpu": 1}]])
    for outcome in ("complete", "error", "stopped", "failed"):
        life.say(old, End(outcome, "done", TIME, 0))
    row = life.row
    assert (row.state, row.reason, row.cumulative_metadata, row.status_detail) == ("started", "phase_running", {}, None)
    assert life.rows(Datum) == life.rows(MetadataPoint) == life.rows(UsageSample) == []
    life.say(new, End("complete", "done", TIME, 0))
    assert life.row.state == "complete"


def test_a_machine_that_comes_back_keeps_its_attempt(life):
    attempt = life.run()
    life.lose(attempt)
    assert life.row.state == "queued"
    life.event(attempt, "metadata", points=[[TIME, {"loss": 1}]], sampled=0)
    assert (life.row.state, life.row.reason) == ("started", "worker_back")
    assert life.row.cumulative_metadata == {"loss": 1}
    assert life.attempt(attempt).state == "running"
    life.say(attempt, End("complete", "done", TIME, 0, lines=5))
    assert (life.row.state, life.row.attempt_number) == ("complete", 1)


def test_an_end_that_was_told_late_counts_if_no_newer_attempt_was_granted(life):
    attempt = life.run()
    life.lose(attempt)
    life.say(attempt, End("complete", "done", TIME, 0))
    assert life.row.state == "complete"


def test_a_machine_that_comes_back_too_late_only_completes_its_log(life):
    old = life.run()
    life.lose(old)
    new = life.grant()
    life.event(old, "segment", **SEGMENT)
    life.say(old, End("complete", "done", TIME, 0, lines=10))
    assert (life.row.state, life.attempt(new).state) == ("queued", "granted")
    ended = life.attempt(old)
    assert (ended.outcome, ended.log_lines, ended.log_complete) == ("lost", 10, True)
    assert len(life.rows(LogSegment)) == 1


def test_a_granted_attempt_of_a_lost_machine_is_granted_again(life):
    attempt = life.grant()
    life.lose(attempt)
    assert (life.row.state, life.row.reason) == ("queued", "retrying")
    life.say(attempt, Accepted())
    life.event(attempt, "phase", phase="image", detail="")
    assert life.attempt(attempt).phase == "image"


@pytest.mark.parametrize("outcome", ["stopped", "failed", "lost", "unknown", "refused"])
def test_a_stop_ends_as_stopped_even_when_the_machine_fails(life, outcome):
    attempt = life.run()
    life.stop()
    life.say(attempt, End(outcome, "stopped_by_user" if outcome == "stopped" else "engine_gone", TIME))
    assert (life.row.state, life.row.reason, life.row.reason_args["by"]) == ("stopped", "stopped_by_user", "ann")


def test_what_completes_while_it_is_stopped_is_complete(life):
    attempt = life.run()
    life.stop()
    life.say(attempt, End("complete", "done", TIME, 0))
    assert life.row.state == "complete"


def test_a_stop_that_nobody_asked_for_is_the_infrastructures(life):
    life.say(life.run(), End("stopped", "stopped_by_user", TIME, 137))
    assert (life.row.state, life.row.reason) == ("queued", "retrying")
    assert "left before it was done" in life.row.reason_args["why"]


def test_an_unknown_code_of_a_newer_agent(life):
    life.say(life.run(), End("error", "gpu_on_fire", TIME, detail="hot"))
    assert (life.row.state, life.row.reason) == ("error", "agent_error")
    assert "gpu_on_fire: hot" in life.row.reason_args["detail"]


def test_a_job_that_cannot_be_made_ends(life):
    with life.ground.begin() as session:
        Transitions(session, LATER, 3).give_up(session.get_one(Execution, life.id), "a secret does not open")
    assert (life.row.state, life.row.reason) == ("error", "job_impossible")


def test_only_legal_moves(life, ground):
    with ground.begin() as session:
        row = session.get_one(Execution, life.id)
        with pytest.raises(IllegalTransitionError):
            Transitions(session, LATER, 3).move(row, "complete", "done", {})
    assert all(not LEGAL[state] for state in FINAL)
    assert {target for targets in LEGAL.values() for target in targets} <= set(LEGAL)


# ---- events
def test_metadata(life):
    attempt = life.run()
    large = {"epoch": 2, "text": "x" * 5000, "deep": {"a": list(range(5000))}}
    points = [[TIME, {"epoch": 1, "loss": 0.5}], [TIME, large]]
    life.event(attempt, "metadata", points=points, sampled=0)
    merged = life.row.cumulative_metadata
    assert (merged["epoch"], merged["loss"], len(merged["text"])) == (2, 0.5, 2000)
    assert "deep" not in merged
    assert len(life.rows(MetadataPoint)) == 2
    assert life.rows(MetadataPoint)[0].at.microsecond == 1


def test_outputs_tags_and_aliases(life):
    attempt = life.run()
    metadata = {"valohai.tags": ["a", 5, "b"], "valohai.alias": "newest", "other": {"x": 1}}
    life.event(attempt, "output", **{**OUTPUT, "metadata": metadata})
    life.event(attempt, "output", **{**OUTPUT, "name": "sub/two.bin", "metadata": {"valohai.alias": ["newest", "two"]}})
    first, second = sorted(life.rows(Datum), key=lambda row: row.name)
    assert first.key == f"{life.ground.project}/{life.id}/1/model.bin"
    assert (first.tags, first.user_metadata) == (["a", "b"], metadata)
    assert {row.name: row.datum_id for row in life.rows(DatumAlias)} == {"newest": second.id, "two": second.id}


def test_progress_of_a_phase_is_shown_but_not_kept_each_time(life):
    attempt = life.grant()
    life.say(attempt, Accepted())
    for percent in (10, 50, 90):
        life.event(attempt, "phase", phase="image", detail=f"{percent} %")
    assert life.row.reason_args["detail"] == "90 %"
    assert [row.reason for row in life.rows(ExecutionEvent) if row.kind == "phase"] == ["phase_image"]


def test_too_large_a_sidecar_leaves_the_output(life):
    attempt = life.run()
    life.event(attempt, "output", **{**OUTPUT, "metadata": {"x": "y" * 300_000}})
    assert life.rows(Datum)[0].user_metadata == {}
    assert any("was left out" in row.message for row in life.rows(ExecutionEvent))


HOSTILE = [
    ("segment", {**SEGMENT, "lines": 11}),
    ("segment", {**SEGMENT, "first": 0, "lines": 11}),
    ("segment", {**SEGMENT, "raw_bytes": 10**12}),
    ("segment", {**SEGMENT, "first": "1"}),
    ("segment", {**SEGMENT, "sha256": "../../x"}),
    ("segment", {}),
    ("output", {**OUTPUT, "name": "../../etc/passwd"}),
    ("output", {**OUTPUT, "name": "/etc/passwd"}),
    ("output", {**OUTPUT, "name": "a\0b"}),
    ("output", {**OUTPUT, "size": -1}),
    ("output", {**OUTPUT, "size": 10**30}),
    ("output", {**OUTPUT, "sha256": 5}),
    ("output", {}),
    ("metadata", {"points": [["soon", {"a": 1}]]}),
    ("metadata", {"points": [["0001-01-01T00:00:00+14:00", {"a": 1}]]}),
    ("metadata", {"points": [[TIME, [1]]]}),
    ("metadata", {"points": [[TIME, {"a": "x" * 300_000}]]}),
    ("metadata", {"points": [[TIME, {}]] * 5000}),
    ("metadata", {"points": "x"}),
    ("usage", {"samples": [[TIME]]}),
    ("phase", {"phase": None}),
    ("status", {}),
    ("gap", {"first": -5}),
    ("container", {"id": []}),
]


def test_bad_data_is_a_protocol_error_and_nothing_else(life):
    attempt = life.run()
    for kind, data in HOSTILE:
        try:
            life.event(attempt, kind, **data)
        except ProtocolError:
            continue
        pytest.fail(f"taken: {kind} {data}")
    assert life.row.state == "started"


def test_odd_values_are_kept_in_a_form_that_the_database_takes(life):
    attempt = life.run()
    point = {"inf": float("inf"), "nul\0": "a\0b", "half": "\ud800", "big": 10**30, "none": None, "": 1}
    life.event(attempt, "metadata", points=[[TIME, point]], sampled=0)
    life.event(attempt, "status", message="a\0b\ud800")
    life.event(attempt, "nonsense", x=1)
    life.event(attempt, "phase", phase="dancing")
    assert life.row.cumulative_metadata["inf"] == "inf"
    for body in (
        End("complete", "done", TIME, 2**40),
        End("splendid", "done", TIME),
        End("error", "x", TIME, lines=-1),
    ):
        with pytest.raises(ProtocolError):
            life.say(attempt, body)
    life.say(attempt, End("error", "no\0such" * 50, TIME, 1, detail="\0" * 9000))
    assert life.row.state == "error"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
fields = st.sampled_from(
    ["points", "samples", "first", "last", "lines", "name", "size", "phase", "message", "metadata", "id", "counts"]
)


@given(
    kind=st.sampled_from(["segment", "output", "metadata", "usage", "phase", "status", "gap", "detail", "container"]),
    data=st.dictionaries(fields, json_values, max_size=6),
)
def test_no_data_breaks_more_than_its_own_message(kind, data):
    from controlplane.executions.events import EventBook

    class Nothing:
        def add(self, row):
            pass

        def scalar(self, query):
            return None

        def get_one(self, kind, key):
            raise ProtocolError("not here")

    execution = Execution(id="e", project_id="p", image="i", state="started", cumulative_metadata={})
    attempt = Attempt(id="a", execution_id="e", number=1, phase="", organization_id="o", worker_id="w")
    book = EventBook(Nothing(), NOW)  # type: ignore[arg-type]
    try:
        book.apply(attempt, execution, kind, data)
    except ProtocolError:
        return
