"""A chore that was accepted is done once, whatever dies on the way."""

from __future__ import annotations

import signal
import threading

import pytest

from chores.rig import ChoreRig
from controlplane.chores.models import Chore
from controlplane.db.session import SYSTEM
from controlplane.errors import ValidationError

pytestmark = pytest.mark.needs("redis")


def test_a_chore_is_run_and_says_what_it_did(rig: ChoreRig) -> None:
    rig.start_relay()
    rig.start_process()
    chore = rig.ask_here("waits")
    rig.until(lambda: rig.look(chore).progress == "waiting for go", "its progress")
    rig.let_go()
    row = rig.ended(chore)
    assert (row.state, row.result, row.tries, row.error) == ("done", {"begun": 1}, 1, "")
    assert row.created_at <= row.started_at <= row.finished_at  # type: ignore[operator]


def test_a_chore_is_there_only_with_its_transaction(rig: ChoreRig) -> None:
    with pytest.raises(RuntimeError), rig.db.begin(SYSTEM) as session:
        rig.service.enqueue(session, "waits", {"folder": str(rig.folder)})
        raise RuntimeError
    with rig.db.read(SYSTEM) as session:
        assert session.query(Chore).count() == 0


def test_killed_in_the_middle_it_is_run_again_and_ends_once(rig: ChoreRig) -> None:
    rig.start_relay()
    killed = rig.start_process()
    chore = rig.ask_here("waits")
    rig.until(lambda: rig.lines() == ["begins"], "the chore to begin")
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    rig.let_go()
    rig.start_process()
    row = rig.ended(chore)
    assert (row.state, row.tries, row.result) == ("done", 2, {"begun": 2})
    assert rig.lines() == ["begins", "begins", "ends"]


def test_what_redis_forgot_is_run(rig: ChoreRig) -> None:
    rig.start_relay()
    chore = rig.ask_here("waits")
    rig.until(lambda: rig.server.admin().llen("rq:queue:chores") == 1, "the chore in Redis")
    rig.server.admin().flushall()
    rig.let_go()
    rig.start_process()
    row = rig.ended(chore)
    assert (row.state, row.tries, rig.lines()) == ("done", 1, ["begins", "ends"])


def test_redis_that_forgets_while_it_runs_costs_nothing(rig: ChoreRig) -> None:
    rig.start_relay()
    rig.start_process()
    chore = rig.ask_here("waits")
    rig.until(lambda: rig.lines() == ["begins"], "the chore to begin")
    rig.server.admin().flushall()
    rig.let_go()
    assert rig.ended(chore).state == "done"
    after = rig.ask_here("waits")
    assert rig.ended(after).state == "done"
    assert rig.lines() == ["begins", "ends"] * 2


def test_without_redis_chores_wait_and_are_done_when_it_is_back(rig: ChoreRig) -> None:
    rig.start_relay()
    rig.start_process()
    rig.until(lambda: rig.events("chores_ready"), "the process")
    rig.server.stop()
    chore = rig.ask_here("waits")
    rig.let_go()
    assert rig.look(chore).state == "queued"
    rig.server.start()
    assert rig.ended(chore).state == "done"


def test_a_process_that_is_asked_to_end_gives_its_chore_back(rig: ChoreRig) -> None:
    rig.start_relay()
    asked = rig.start_process()
    chore = rig.ask_here("waits")
    rig.until(lambda: rig.lines() == ["begins"], "the chore to begin")
    asked.send_signal(signal.SIGTERM)
    assert asked.wait(20) == 0
    row = rig.look(chore)
    assert (row.state, row.tries) == ("queued", 0)
    rig.let_go()
    rig.start_process()
    assert rig.ended(chore).state == "done"


def test_a_failed_chore_is_tried_again_and_then_given_up(rig: ChoreRig) -> None:
    rig.start_relay()
    rig.start_process()
    once = rig.ended(rig.ask_here("fails", times=1))
    assert (once.state, once.tries, once.error) == ("done", 2, "")
    always = rig.ended(rig.ask_here("fails", times=100))
    assert (always.state, always.tries, always.reason) == ("failed", 3, "failed")
    assert always.error == "It ended with RuntimeError; the log of `chores` says more."
    assert "secret-of-the-exception" in rig.log()


def test_a_handler_that_gives_up_is_not_tried_again(rig: ChoreRig) -> None:
    rig.start_relay()
    rig.start_process()
    row = rig.ended(rig.ask_here("gives-up"))
    assert (row.state, row.reason, row.tries) == ("failed", "no_repository", 1)
    assert row.error == "The repository says that it does not exist."


def test_a_chore_that_takes_too_long_is_ended(rig: ChoreRig) -> None:
    rig.start_relay()
    rig.start_process(chores_limit=1, chores_tries=1)
    row = rig.ended(rig.ask_here("sleeps"))
    assert (row.state, row.reason, row.error) == ("failed", "timed_out", "It took longer than 1 s.")


def test_a_chore_that_hangs_takes_its_process_with_it(rig: ChoreRig) -> None:
    rig.start_relay()
    hung = rig.start_process(chores_limit=1)
    chore = rig.ask_here("hangs")
    assert hung.wait(60) == 70
    rig.start_process()
    row = rig.ended(chore)
    assert (row.state, row.result) == ("done", {"begun": 2})


def test_a_chore_whose_process_always_dies_is_given_up(rig: ChoreRig) -> None:
    rig.start_relay()
    chore = rig.ask_here("waits")
    for number in range(1, 4):
        process = rig.start_process()
        rig.until(lambda number=number: rig.lines() == ["begins"] * number, f"begin {number}")
        process.kill()
        process.wait()
    rig.start_process()
    row = rig.ended(chore)
    assert (row.state, row.reason) == ("failed", "died")
    assert row.error == "The process that ran it died 3 times; the log of `chores` says more."


def test_unknown_kinds_fail_with_a_sentence(rig: ChoreRig) -> None:
    with pytest.raises(ValidationError, match="There is no chore 'brew'; there are: .*fails, .*waits"):
        rig.ask("brew")
    with pytest.raises(ValidationError, match="dry_run: Input should be a valid boolean"):
        rig.ask("housekeeping", dry_run="no")
    rig.start_relay()
    rig.start_process()
    with rig.db.begin(SYSTEM) as session:
        known = session.get_one(Chore, rig.service.enqueue(session, "housekeeping"))
        other = session.get_one(Chore, rig.service.enqueue(session, "housekeeping"))
        known.kind, other.arguments = "brew", {"dry_run": "no"}
    row = rig.ended(known.id)
    assert (row.state, row.reason, row.tries) == ("failed", "unknown_kind", 1)
    assert row.error.startswith("There is no chore 'brew'; there are: data-retention, fails, ")
    row = rig.ended(other.id)
    assert (row.reason, row.error) == (
        "bad_arguments",
        "Its arguments do not fit: dry_run: Input should be a valid boolean.",
    )


def test_the_same_chore_that_waits_is_one_row(rig: ChoreRig) -> None:
    found: list[str] = []
    gate = threading.Barrier(8)

    def ask() -> None:
        gate.wait()
        found.append(rig.ask("waits", unique_key="fetch:7", folder=str(rig.folder)))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8 and len(set(found)) == 1
    assert rig.ask("waits", unique_key="fetch:8", folder=str(rig.folder)) not in found

    rig.start_relay()
    rig.start_process()
    rig.until(lambda: rig.lines() == ["begins"], "the first one to begin")
    # What runs may have passed what changed since: asking now is for another run.
    later = rig.ask("waits", unique_key="fetch:7", folder=str(rig.folder))
    assert later not in found
    assert rig.ask("waits", unique_key="fetch:7", folder=str(rig.folder)) == later
    rig.let_go()
    assert {rig.ended(found[0]).state, rig.ended(later).state} == {"done"}
