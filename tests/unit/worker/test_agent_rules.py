"""Decisions of the agent that need neither engine nor queue."""

from __future__ import annotations

import os
import threading
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from worker_bootstrap.agent import reasons
from worker_bootstrap.agent.attempt import limits
from worker_bootstrap.agent.attempt.calls import is_on_this_machine
from worker_bootstrap.agent.attempt.controls import Controls, read_controls
from worker_bootstrap.agent.attempt.digest import Digests
from worker_bootstrap.agent.attempt.errors import AttemptError, HaltedError
from worker_bootstrap.agent.attempt.names import bad_output_name
from worker_bootstrap.agent.attempt.parts import Addresses, PartReader, part_count, part_size
from worker_bootstrap.agent.attempt.spec import Share, make_spec, share_of
from worker_bootstrap.agent.cache import Cache, cache_key
from worker_bootstrap.agent.config import AgentConfig
from worker_bootstrap.agent.deadman import Contact, should_power_off
from worker_bootstrap.agent.http import forbidden
from worker_bootstrap.agent.machine import judge
from worker_bootstrap.agent.runtime.base import ExitInfo, Problem
from worker_bootstrap.agent.slots import NONE, Slots
from worker_bootstrap.protocol import codec, crypto
from worker_bootstrap.protocol.errors import ProtocolError
from worker_bootstrap.protocol.job import Code, Container, Job, Limits
from worker_bootstrap.protocol.messages import Envelope, Stop, UrlItem

CONFIG = AgentConfig(queue_url="redis://q", join_password="p", join_secret="s", group="g", name="n")


# ---- limits -------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("request_", "ran", "silent", "why"),
    [
        (None, 99.9, 9.9, ""),
        (None, 100.0, 0.0, reasons.TIME_LIMIT),
        (None, 0.0, 10.0, reasons.NO_OUTPUT),
        (Stop("superseded"), 200.0, 20.0, "superseded"),
        (Stop(""), 0.0, 0.0, reasons.STOPPED),
    ],
)
def test_why_an_attempt_is_ended(request_: Stop | None, ran: float, silent: float, why: str) -> None:
    assert limits.why_stop(request_, Limits(time_limit=100, no_output_timeout=10), ran, silent) == why
    assert limits.why_stop(None, Limits(), 1e9, 1e9) == ""


@pytest.mark.parametrize(
    ("after", "kill", "signal"),
    [
        (0, False, "SIGINT"),
        (9.9, False, "SIGINT"),
        (10, False, "SIGTERM"),
        (20, False, "SIGKILL"),
        (0, True, "SIGKILL"),
    ],
)
def test_signals_grow_stronger(after: float, kill: bool, signal: str) -> None:
    assert limits.signal_due(after, 10, kill=kill) == signal


@pytest.mark.parametrize(
    ("info", "why", "outcome", "reason", "detail"),
    [
        (ExitInfo(0), "", "complete", "done", ""),
        (ExitInfo(3), "", "error", "exit_code", ""),
        (ExitInfo(137, oom_killed=True), "", "error", "oom_killed", "1.5 GiB"),
        (ExitInfo(0, oom_killed=True), "", "complete", "done", ""),
        (ExitInfo(0), "time_limit", "error", "time_limit", ""),
        (ExitInfo(0), "stopped_by_user", "stopped", "stopped_by_user", ""),
    ],
)
def test_what_an_end_is_called(info: ExitInfo, why: str, outcome: str, reason: str, detail: str) -> None:
    found = limits.verdict(info, why, 3 << 29)
    assert (found.outcome, found.reason, found.detail) == (outcome, reason, detail)


def test_sizes_for_people() -> None:
    shown = [limits.shown_bytes(size) for size in (0, 1023, 1024, 64 << 20, 3 << 29, 5 << 40)]
    assert shown == ["0 bytes", "1023 bytes", "1 KiB", "64 MiB", "1.5 GiB", "5 TiB"]


# ---- dead-man -----------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("silent", "running", "off"),
    [(3599, False, False), (3600, False, True), (3600, True, False), (3899, True, False), (3900, True, True)],
)
def test_when_a_machine_powers_off(silent: float, running: bool, off: bool) -> None:
    assert should_power_off(1000 + silent, Contact(1000.0, running), 3600, 300) is off


def test_without_a_limit_it_never_does() -> None:
    assert not should_power_off(1e12, Contact(0.0, running=False), 0, 300)


def test_only_the_embedded_group_may_go_without_a_firewall() -> None:
    warning = Problem("firewall", "no rules", "run as root", fatal=False)
    other = Problem("seccomp", "no profile", "use one", fatal=False)
    assert judge([warning, other], allow_without_firewall=False) == [warning]
    assert judge([warning, other], allow_without_firewall=True) == []
    assert judge([replace(warning, fatal=True)], allow_without_firewall=True) == [replace(warning, fatal=True)]


# ---- protocol -----------------------------------------------------------------------------------------
@pytest.mark.parametrize(("spoken", "fits"), [(1, False), (2, True), (3, True), (4, False)])
def test_this_protocol_and_the_one_before(monkeypatch: pytest.MonkeyPatch, spoken: int, fits: bool) -> None:
    monkeypatch.setattr(codec, "PROTOCOL", 3)
    monkeypatch.setattr(codec, "OLDEST_PROTOCOL", 2)
    key = crypto.SigningKey.generate()
    fields = codec.encode(key, [Envelope("1", "drain", "i", "w", 0.0, {}, protocol=spoken)])
    entry = {name.encode(): value for name, value in fields.items()}
    if fits:
        assert codec.decode({key.id: key.public}, entry, direction="down")[0].protocol == spoken
        return
    side = "this side" if spoken == 4 else "the other side"
    with pytest.raises(ProtocolError, match=f"protocol {spoken} is not spoken here, only 2 to 3: {side} needs"):
        codec.decode({key.id: key.public}, entry, direction="down")


# ---- slots --------------------------------------------------------------------------------------------
def never() -> bool:
    return False


def test_slots_go_in_turn_and_back_to_who_had_them() -> None:
    slots = Slots(2)
    first, second, third = slots.enter(), slots.enter(), slots.enter()
    assert slots.take(third, 1, never, never) == 1, "it had this one before a restart"
    taken: list[int] = []
    late = threading.Thread(target=lambda: taken.append(slots.take(second, NONE, never, never)))
    late.start()
    assert slots.take(first, NONE, never, never) == 0, "the first in line, though the second asked earlier"
    slots.give(1)
    late.join(5)
    assert taken == [1]


def test_a_slot_that_is_no_more_is_replaced_by_another() -> None:
    slots = Slots(1)
    assert slots.take(slots.enter(), 7, never, never) == 0


def test_who_gives_up_holds_nobody_up() -> None:
    slots = Slots(1)
    gone, left, next_one = slots.enter(), slots.enter(), slots.enter()
    assert slots.take(gone, NONE, never, lambda: True) == NONE
    slots.leave(left)
    slots.leave(left)
    assert slots.take(next_one, NONE, never, never) == 0
    with pytest.raises(HaltedError):
        slots.take(slots.enter(), NONE, lambda: True, never)


# ---- the container ------------------------------------------------------------------------------------
def spec_of(container: dict[str, Any], share: Share, env: dict[str, str] | None = None, slots: int = 1) -> Any:
    """(the container, what was said)."""
    job = Job(
        execution="e",
        attempt="a",
        number=1,
        worker="w",
        installation="i",
        organization="o",
        project="p",
        title="t",
        code=Code("c", "0" * 64, 1),
        container=Container(image="image", command="true", **container),
        limits=Limits(),
        inputs=[],
        env=env or {},
        config={},
        secrets="",
    )
    said: list[str] = []
    controls, _ = read_controls(job.env)
    context: Any = SimpleNamespace(
        job=job,
        config=replace(CONFIG, slots=slots),
        folder=Path("/home"),
        secrets=SimpleNamespace(env={}),
        controls=controls,
        host_network=False,
        status=said.append,
    )
    return make_spec(context, share, "image", "10.0.0.1"), said


def test_a_machine_is_shared_out_over_its_slots() -> None:
    config = replace(CONFIG, slots=2, gpus=["a", "b", "c", "d"], memory_reserve=100)
    assert share_of(config, 0, cpus=8, memory=1000) == Share(4.0, 450, ("a", "b"))
    assert share_of(config, 1, cpus=8, memory=1000) == Share(4.0, 450, ("c", "d"))
    assert share_of(replace(CONFIG, memory_reserve=100), 0, 4, 150).memory == 75, "the reserve is half at most"


@pytest.mark.parametrize(
    ("asked", "wish", "given"), [(0, "", 4.0), (2.0, "", 2.0), (9.0, "", 4.0), (2.0, "0.5", 0.5), (0, "64", 4.0)]
)
def test_cores_are_the_smallest_of_all_wishes(asked: float, wish: str, given: float) -> None:
    spec, _ = spec_of({"cpu": asked}, Share(4.0, 100, ()), {"VH_CPU_LIMIT": wish})
    assert spec.cpu == given


def test_memory_is_the_steps_wish_within_the_share() -> None:
    share = Share(4.0, 1 << 30, ())
    assert spec_of({"memory": 1 << 20}, share)[0].memory == 1 << 20
    assert spec_of({}, share)[0].memory == 1 << 30
    spec, said = spec_of({"memory": 1 << 31}, share)
    assert (spec.memory, said) == (
        1 << 30,
        ["Memory is limited to 1 GiB, this slot's share, not 2 GiB."],
    )


@pytest.mark.parametrize(
    ("wish", "given"),
    [("", ["a", "b"]), ("all", ["a", "b"]), ("1", ["b"]), ("1,0", ["b", "a"]), ("none", []), ("5", [])],
)
def test_a_slots_own_devices_are_requested(wish: str, given: list[str]) -> None:
    spec, said = spec_of({"gpus": 2}, Share(1.0, 1, ("a", "b")), {"VH_GPUS": wish}, slots=2)
    assert spec.gpus == given
    assert said == (["VH_GPUS names place 5; this slot's GPUs have the places 0 to 1."] if wish == "5" else [])


def test_devices_that_are_not_listed() -> None:
    assert spec_of({"gpus": 2}, Share(1.0, 1, ()))[0].gpus == 2, "all of them belong to the one slot"
    with pytest.raises(AttemptError, match="2 GPUs a slot are needed, `gpus` in agent.json lists 0 for this slot"):
        spec_of({"gpus": 2}, Share(1.0, 1, ()), slots=2)
    assert spec_of({}, Share(1.0, 1, ("a",)))[0].gpus == 0, "none where the group gives none"


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        ({}, Controls()),
        ({"VH_CLEAN": "1"}, Controls(no_data_cache=True, no_image_cache=True, clean=True)),
        ({"VH_NO_DATA_CACHE": "yes", "VH_NO_IMAGE_CACHE": "0"}, Controls(no_data_cache=True)),
        ({"VH_CPU_LIMIT": " 1.5 ", "VH_GPUS": "0, 2,0"}, Controls(cpu=1.5, gpus=(0, 2))),
        ({"VH_DOCKER_NETWORK": "Host"}, Controls(host_network=True)),
    ],
)
def test_controls_are_read(env: dict[str, str], expected: Controls) -> None:
    assert read_controls(env) == (expected, [])


@pytest.mark.parametrize(
    ("name", "value"),
    [("VH_CPU_LIMIT", "much"), ("VH_CPU_LIMIT", "-1"), ("VH_CPU_LIMIT", "nan"), ("VH_CPU_LIMIT", "inf")]
    + [("VH_GPUS", "first"), ("VH_GPUS", "-1"), ("VH_GPUS", "²"), ("VH_DOCKER_NETWORK", "container:x")],
)
def test_a_control_that_can_not_be_read_is_named(name: str, value: str) -> None:
    controls, problems = read_controls({name: value})
    assert controls == Controls()
    assert len(problems) == 1 and problems[0].startswith(f"{name}={value} is left out: ")


# ---- names and addresses ------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["a", "a/b c.txt", "ä/😀", "x" * 255, "nully"])
def test_names_that_can_be_stored(name: str) -> None:
    assert bad_output_name(name) == ""


@pytest.mark.parametrize(
    "name",
    [
        "../x",
        "a//b",
        "/x",
        "a/.",
        "a\\b",
        "a\nb",
        "\udcff",
        "x" * 256,
        "/".join(["y" * 100] * 6),
        "aux",
        "a/NUL.txt",
        "com1",
    ],
)
def test_names_that_can_not(name: str) -> None:
    assert bad_output_name(name)


@pytest.mark.parametrize(
    ("url", "here"),
    [
        ("http://127.0.0.1:8765/x", True),
        ("http://localhost/x", True),
        ("http://[::1]:1/x", True),
        ("https://store.example/x", False),
        ("http://10.0.0.1/x", False),
    ],
)
def test_which_addresses_mean_this_machine(url: str, here: bool) -> None:
    assert is_on_this_machine(url) is here


@pytest.mark.parametrize(
    ("address", "out"),
    [
        ("169.254.169.254", True),
        ("::ffff:169.254.169.254", True),
        ("fe80::1%eth0", True),
        ("fd00:ec2::254", True),
        ("0.0.0.0", True),
        ("224.0.0.1", True),
        ("127.0.0.1", True),
        ("10.0.0.1", False),
        ("192.0.2.1", False),
    ],
)
def test_where_inputs_may_not_come_from(address: str, out: bool) -> None:
    assert forbidden(address, loopback=False) is out
    assert not forbidden("127.0.0.1", loopback=True)


# ---- cache and parts ----------------------------------------------------------------------------------
def test_a_cache_key_needs_everything() -> None:
    key = cache_key("org", "uri", "v1", 5)
    assert key
    others = [("org2", "uri", "v1", 5), ("org", "uri2", "v1", 5), ("org", "uri", "v2", 5), ("org", "uri", "v1", 6)]
    assert len({key, *(cache_key(*other) for other in others)}) == 5
    assert cache_key("org", "uri", "", 5) == cache_key("org", "uri", "v1", None) == ""


def kept(cache: Cache, folder: Path, key: str, size: int) -> bool:
    source = folder / "source"
    source.write_bytes(b"x" * size)
    return cache.keep(key, source, Digests(size, "", "", ""))


def test_the_longest_unused_leave_first(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache", most=1000, min_free=0)
    for number, key in enumerate("abc"):
        kept(cache, tmp_path, key, 300)
        os.utime(tmp_path / "cache" / f"{key}.json", (number, number))
    assert cache.take("a", tmp_path / "used") is not None
    kept(cache, tmp_path, "d", 300)
    found = {key for key in "abcd" if cache.take(key, tmp_path / key) is not None}
    assert found == {"a", "c", "d"}
    assert not kept(cache, tmp_path, "large", 1001)


def test_what_is_not_whole_is_not_taken(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache", most=1000, min_free=0)
    kept(cache, tmp_path, "a", 10)
    (tmp_path / "cache" / "a").chmod(0o644)
    (tmp_path / "cache" / "a").write_bytes(b"short")
    assert cache.take("a", tmp_path / "a") is None


def test_half_made_entries_go_at_the_next_start(tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    kept(Cache(folder, most=1000, min_free=0), tmp_path, "good", 10)
    for name in ("key.abc.tmp", "without-notes", "x.json.new"):
        (folder / name).write_text("x")
    Cache(folder, most=1000, min_free=0)
    assert {path.name for path in folder.iterdir()} == {"good", "good.json"}


def test_parts_cover_the_object(tmp_path: Path) -> None:
    data = os.urandom(1050)
    (tmp_path / "f").write_bytes(data)
    whole = UrlItem("1", "output", "f", size=1050, upload="u", part_bytes=100)
    asked: list[int] = []

    def ask(items: list[UrlItem]) -> dict[str, UrlItem]:
        asked.append(len(items))
        return {item.id: replace(item, url=f"/{item.part}") for item in items}

    addresses = Addresses(whole, ask)
    with (tmp_path / "f").open("rb") as file:
        parts = [PartReader(file, (n - 1) * 100, part_size(whole, n)).read() for n in range(1, part_count(whole) + 1)]
    assert b"".join(parts) == data and len(parts) == 11
    assert [getattr(addresses.take(n), "url", "") for n in (1, 11, 5)] == ["/1", "/11", "/5"]
    assert asked == [11], "in one batch"
    assert getattr(addresses.take(5), "url", "") == "/5", "a new one after it was used"
    assert asked == [11, 2], "with the other that was used"
