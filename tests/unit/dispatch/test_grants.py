"""The fair choice: slots, work conservation, fairness, order, determinism."""

from __future__ import annotations

import random
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from controlplane.dispatch.grants import Free, Waiting, choose, in_turn

GROUPS = ("g1", "g2")
PROJECTS = ("p1", "p2", "p3")

waiting_lists = st.lists(
    st.tuples(st.sampled_from(PROJECTS), st.sampled_from(GROUPS), st.integers(0, 2), st.integers(0, 99)), max_size=40
).map(lambda rows: [Waiting(f"e{i}", p, g, n, f"{o:03}") for i, (p, g, n, o) in enumerate(rows)])
free_lists = st.lists(st.tuples(st.sampled_from(GROUPS), st.integers(-1, 4)), max_size=6).map(
    lambda rows: [Free(f"w{i}", g, slots) for i, (g, slots) in enumerate(rows)]
)
loads = st.dictionaries(st.sampled_from(PROJECTS), st.integers(0, 5))
weight_maps = st.dictionaries(st.sampled_from(PROJECTS), st.integers(1, 4))


@given(waiting_lists, free_lists, loads, weight_maps)
def test_never_more_than_the_slots_of_the_right_group(waiting, free, running, weights) -> None:
    pairs = choose(waiting, free, running, weights)
    groups = {w.execution: w.group for w in waiting}
    workers = {f.worker: f for f in free}
    assert len({execution for execution, _ in pairs}) == len(pairs)
    assert all(groups[execution] == workers[worker].group for execution, worker in pairs)
    assert all(count <= max(0, workers[w].slots) for w, count in Counter(w for _, w in pairs).items())


@given(waiting_lists, free_lists, loads, weight_maps)
def test_no_slot_stays_free_while_somebody_waits(waiting, free, running, weights) -> None:
    granted = Counter({w.execution: w.group for w in waiting}[e] for e, _ in choose(waiting, free, running, weights))
    for group in GROUPS:
        slots = sum(max(0, f.slots) for f in free if f.group == group)
        assert granted[group] == min(slots, sum(w.group == group for w in waiting))


@given(waiting_lists, free_lists, loads, weight_maps, st.randoms(use_true_random=False))
def test_the_order_of_the_input_does_not_matter(waiting, free, running, weights, rng: random.Random) -> None:
    shuffled, mixed = list(waiting), list(free)
    rng.shuffle(shuffled)
    rng.shuffle(mixed)
    assert choose(waiting, free, running, weights) == choose(shuffled, mixed, running, weights)


@given(st.integers(1, 30), st.integers(1, 4), st.integers(1, 4))
def test_projects_that_always_wait_are_within_one_grant_of_their_share(slots: int, first: int, second: int) -> None:
    waiting = [Waiting(f"{p}{i}", p, "g", 0, f"{i:03}") for p in ("a", "b") for i in range(40)]
    pairs = choose(waiting, [Free("w", "g", slots)], {}, {"a": first, "b": second})
    got = Counter(execution[0] for execution, _ in pairs)
    share = slots * first / (first + second)
    assert abs(got["a"] - share) <= 1


def test_a_project_that_runs_much_lets_others_go_first() -> None:
    waiting = [Waiting("old", "big", "g", 9, "1"), Waiting("new", "small", "g", 0, "2")]
    assert choose(waiting, [Free("w", "g", 1)], {"big": 1}, {}) == [("new", "w")]


def test_within_a_project_priority_goes_before_age() -> None:
    waiting = [Waiting("a", "p", "g", 0, "1"), Waiting("b", "p", "g", 0, "2"), Waiting("c", "p", "g", 5, "3")]
    assert [item.execution for item in in_turn(waiting, {}, {})] == ["c", "a", "b"]


def test_work_spreads_over_the_workers() -> None:
    waiting = [Waiting(f"e{i}", "p", "g", 0, str(i)) for i in range(4)]
    pairs = choose(waiting, [Free("w1", "g", 2), Free("w2", "g", 2)], {}, {})
    assert Counter(worker for _, worker in pairs) == {"w1": 2, "w2": 2}


def test_a_worker_on_which_it_failed_is_the_last_resort() -> None:
    item = Waiting("e", "p", "g", 0, "1", avoid=frozenset({"w1"}))
    assert choose([item], [Free("w1", "g", 4), Free("w2", "g", 1)], {}, {}) == [("e", "w2")]
    assert choose([item], [Free("w1", "g", 4)], {}, {}) == [("e", "w1")]
