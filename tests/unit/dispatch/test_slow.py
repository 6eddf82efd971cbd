"""Work beside the consumers: a few at once for each payer, payers in turn, nothing left behind."""

from __future__ import annotations

import threading

from controlplane.dispatch.planned import Wish, known, payer_of
from controlplane.dispatch.slow import SlowAnswers
from worker_bootstrap.protocol.messages import UrlItem


class Gate:
    """Work that waits until it is let through; `started` are the names of what has begun."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.started: list[str] = []
        self.entered = threading.Semaphore(0)

    def work(self, name: str):
        def run() -> None:
            self.started.append(name)
            self.entered.release()
            assert self.open.wait(10)

        return run

    def wait(self, count: int) -> None:
        for _ in range(count):
            assert self.entered.acquire(timeout=10)


def test_each_payer_has_its_places_and_all_together_have_theirs() -> None:
    gate, slow = Gate(), SlowAnswers(at_once=3, each=2)
    for name in ("a1", "a2", "a3", "b1", "b2"):
        assert slow.put(name[0], name, gate.work(name))
    gate.wait(3)
    assert sorted(gate.started) == ["a1", "a2", "b1"]
    gate.open.set()
    gate.wait(2)
    assert slow.drain(10) == 0
    assert sorted(gate.started) == ["a1", "a2", "a3", "b1", "b2"]
    assert len(slow) == 0


def test_what_finds_no_place_is_refused_and_what_is_known_is_not_put_twice() -> None:
    gate, slow = Gate(), SlowAnswers(each=1, waiting=1)
    assert slow.put("a", "1", gate.work("1"))
    gate.wait(1)
    assert slow.put("a", "2", gate.work("2"))
    assert slow.put("a", "1", gate.work("again"))
    assert slow.put("a", "2", gate.work("again"))
    assert not slow.put("a", "3", gate.work("3"))
    assert slow.put("b", "4", gate.work("4"))
    gate.open.set()
    gate.wait(2)
    assert slow.drain(10) == 0
    assert sorted(gate.started) == ["1", "2", "4"]


def test_draining_forgets_what_waits_and_says_what_did_not_end() -> None:
    gate, slow = Gate(), SlowAnswers(each=1)
    slow.put("a", "1", gate.work("1"))
    slow.put("a", "2", gate.work("2"))
    gate.wait(1)
    assert slow.drain(0.05) == 1
    assert len(slow) == 1
    gate.open.set()
    assert slow.drain(10) == 0
    assert gate.started == ["1"]


def test_work_that_fails_gives_its_place_back() -> None:
    gate, slow = Gate(), SlowAnswers(each=1)
    gate.open.set()

    def fail() -> None:
        raise ValueError("a defect")

    slow.put("a", "1", fail)
    slow.put("a", "2", gate.work("2"))
    gate.wait(1)
    assert slow.drain(10) == 0


def test_who_pays_is_the_organisation_as_soon_as_a_store_of_people_is_asked() -> None:
    item = UrlItem("1", "output", "x")
    ours, added = Wish(lambda: item, "own-store"), Wish(lambda: item, "added-store", by_user=True)
    signed = Wish(lambda: item, "", by_user=True)
    assert payer_of([known(item), signed], "org") == ""
    assert payer_of([signed, ours], "org") == "own-store"
    assert payer_of([ours, added], "org") == "org"
