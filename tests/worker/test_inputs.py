"""Inputs: fetched whole or not at all, checked, shared on the machine within one organisation only."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from dataclasses import replace

import pytest

from worker.rig import Rig, input_of
from worker_bootstrap.protocol.job import InputFile

pytestmark = pytest.mark.needs("engine")
PART = 33_554_432
SMALL_PARTS = {"part_bytes": 65_536}


@pytest.fixture(scope="module")
def small_parts(make_module_rig) -> Rig:
    """An agent that fetches 64 KiB at a time, and keeps 1 MB in its cache."""
    rig = make_module_rig(slots=2, cache_bytes=1_000_000, **SMALL_PARTS)
    rig.agent.start()
    return rig


def gets(rig: Rig, key: str) -> int:
    return rig.store.requests["GET", key]


def stored_key(file: InputFile) -> str:
    return f"data/{file.id}"


def test_inputs_json_is_the_contracts(rig: Rig) -> None:
    data = b"1,2,3\n"
    datum = rig.input_file("numbers.csv", data, metadata={"kind": "csv"}, storage_uri="folder://store/key")
    web = rig.web_file("plain.txt", b"from the web")
    record = rig.run("cat /valohai/config/inputs.json", inputs=[input_of("data", datum, web), input_of("none")])
    shown = json.loads("\n".join(rig.lines(record, "stdout")))
    assert shown["none"] == {"input_id": "none", "files": []}
    assert shown["data"]["input_id"] == "data"
    first, second = shown["data"]["files"]
    assert first == {
        "name": "numbers.csv",
        "path": "/valohai/inputs/data/numbers.csv",
        "uri": datum.uri,
        "size": 6,
        "checksums": {kind: hashlib.new(kind, data).hexdigest() for kind in ("md5", "sha1", "sha256")},
        "metadata": [{"kind": "csv"}],
        "datum_id": datum.id,
        "storage_uri": "folder://store/key",
        "download_intent": "always",
        "input_id": "data",
    }
    assert (second["uri"], second["size"], second["datum_id"]) == (web.uri, 12, None)
    assert second["checksums"]["sha256"] == hashlib.sha256(b"from the web").hexdigest()


def test_files_stand_where_the_job_says_and_are_read_only(rig: Rig) -> None:
    nested = rig.input_file("a.txt", b"deep", path="train/cats/a.txt")
    renamed = rig.input_file("b.txt", b"flat", path="renamed.txt")
    record = rig.run(
        "cd /valohai/inputs/data && cat train/cats/a.txt renamed.txt; echo\n"
        "echo x > train/cats/a.txt || echo refused; rm -f renamed.txt || echo kept",
        inputs=[input_of("data", nested, renamed)],
    )
    assert rig.lines(record, "stdout") == ["deepflat", "refused", "kept"]


def test_a_second_execution_takes_it_from_the_cache(rig: Rig) -> None:
    file = rig.input_file("model.bin", os.urandom(100_000))
    for _ in range(2):
        assert rig.run("sha256sum /valohai/inputs/in/model.bin", inputs=[input_of("in", file)]).ends[0].reason == "done"
    assert gets(rig, stored_key(file)) == 1


def test_another_organisation_fetches_it_again(rig: Rig) -> None:
    file = rig.input_file("secret.bin", b"of one organisation")
    rig.run("true", inputs=[input_of("in", file)], organization="one")
    rig.run("true", inputs=[input_of("in", file)], organization="another")
    assert gets(rig, stored_key(file)) == 2


@pytest.mark.parametrize("name", ["VH_NO_DATA_CACHE", "VH_CLEAN"])
def test_users_can_do_without_the_cache(rig: Rig, name: str) -> None:
    file = rig.input_file("fresh.bin", b"fresh")
    for _ in range(2):
        rig.run("true", inputs=[input_of("in", file)], env={name: "1"})
    assert gets(rig, stored_key(file)) == 2


def test_a_web_address_is_cached_by_version_and_size(rig: Rig) -> None:
    file = rig.web_file("versioned.txt", b"old!")
    for data, cached in ((b"old!", False), (b"old!", True), (b"new!", False)):
        rig.store.objects["versioned.txt"] = data
        record = rig.run("cat /valohai/inputs/in/versioned.txt", inputs=[input_of("in", file)])
        assert rig.lines(record, "stdout") == [data.decode()]
        assert ("Input in/versioned.txt: 4 bytes from this machine's cache" in rig.lines(record, "status")) is cached


def test_two_executions_at_once_fetch_it_once(rig: Rig) -> None:
    file = rig.input_file("shared.bin", os.urandom(300_000))
    rig.store.gate.clear()
    records = [rig.master.grant(rig.job("true", inputs=[input_of("in", file)])) for _ in range(2)]
    rig.store.gate.set()
    assert [rig.master.ended(record).reason for record in records] == ["done", "done"]
    assert gets(rig, stored_key(file)) == 1


def test_two_executions_at_once_with_the_same_web_address(rig: Rig) -> None:
    file = rig.web_file("both.bin", os.urandom(200_000))
    jobs = [rig.job("true", inputs=[input_of("in", file)]) for _ in range(2)]
    records = [rig.master.grant(job) for job in jobs]
    assert [rig.master.ended(record).reason for record in records] == ["done", "done"]


def test_the_cache_stays_below_its_size(small_parts: Rig) -> None:
    rig = small_parts
    files = [rig.input_file(f"{n}.bin", os.urandom(400_000)) for n in range(3)]
    for file in files:
        rig.run("true", inputs=[input_of("in", file)])
    kept = sum(path.stat().st_size for path in (rig.agent.home / "cache").iterdir() if path.suffix != ".json")
    assert 400_000 <= kept <= 1_000_000
    rig.run("true", inputs=[input_of("in", files[2]), input_of("again", files[0])])
    assert [gets(rig, stored_key(file)) for file in files] == [parts(rig) * 2, parts(rig), parts(rig)]


def parts(rig: Rig) -> int:
    """Requests of a file of 400,000 bytes."""
    return -(-400_000 // SMALL_PARTS["part_bytes"])


def test_a_large_file_comes_in_parallel_ranges(small_parts: Rig) -> None:
    rig = small_parts
    data = os.urandom(1_000_000)
    file = rig.input_file("large.bin", data)
    rig.store.most_busy, rig.store.linger = 0, 0.05
    record = rig.run("sha256sum < /valohai/inputs/in/large.bin", inputs=[input_of("in", file)])
    rig.store.linger = 0.0
    assert rig.lines(record, "stdout") == [f"{hashlib.sha256(data).hexdigest()}  -"]
    ranges = rig.store.ranges[stored_key(file)]
    expected = [f"bytes={start}-{min(start + 65_535, 999_999)}" for start in range(0, 1_000_000, 65_536)]
    assert sorted(ranges) == sorted(expected)
    assert rig.store.most_busy > 1


def test_a_cut_connection_costs_only_its_part(small_parts: Rig) -> None:
    rig = small_parts
    data = os.urandom(300_000)
    file = rig.input_file("cut.bin", data)
    rig.store.cut[stored_key(file)] = [30_000, 10, 50_000]
    record = rig.run("sha256sum < /valohai/inputs/in/cut.bin", inputs=[input_of("in", file)])
    assert rig.lines(record, "stdout") == [f"{hashlib.sha256(data).hexdigest()}  -"]
    assert len(rig.store.ranges[stored_key(file)]) == 5 + 3


def test_a_server_without_ranges(small_parts: Rig) -> None:
    rig = small_parts
    data = os.urandom(300_000)
    file = rig.web_file("whole.bin", data)
    rig.store.no_ranges.add("whole.bin")
    rig.store.cut["whole.bin"] = [100_000]
    record = rig.run("sha256sum < /valohai/inputs/in/whole.bin", inputs=[input_of("in", file)])
    assert rig.lines(record, "stdout") == [f"{hashlib.sha256(data).hexdigest()}  -"]
    assert gets(rig, "whole.bin") == 2


def test_a_server_that_is_away_for_a_moment(rig: Rig) -> None:
    file = rig.input_file("moment.txt", b"there it is")
    rig.store.answers[stored_key(file)] = [503, 500, 429]
    record = rig.run("cat /valohai/inputs/in/moment.txt", inputs=[input_of("in", file)])
    assert rig.lines(record, "stdout") == ["there it is"]


def test_wrong_bytes_are_refused(rig: Rig) -> None:
    file = rig.input_file("wrong.bin", b"these bytes")
    wrong = replace(file, checksums={"sha256": "0" * 64})
    end = rig.run("true", inputs=[input_of("in", wrong)]).ends[0]
    assert (end.outcome, end.reason) == ("error", "input_checksum")
    assert end.detail == "in/wrong.bin: its sha256 is not the expected one"


def test_a_wrong_size_is_refused(rig: Rig) -> None:
    file = replace(rig.input_file("short.bin", b"four"), size=5)
    end = rig.run("true", inputs=[input_of("in", file)]).ends[0]
    assert (end.reason, end.detail) == ("input_checksum", "in/short.bin: 4 bytes came, 5 were expected")


def test_a_file_that_is_not_there(rig: Rig) -> None:
    file = rig.web_file("gone.txt", b"")
    del rig.store.objects["gone.txt"]
    end = rig.run("true", inputs=[input_of("in", file)]).ends[0]
    assert (end.outcome, end.reason) == ("error", "input_not_found")
    assert end.detail == f"in/gone.txt: {file.uri} answered 404"


def test_a_server_that_never_answers(rig: Rig) -> None:
    file = rig.web_file("broken.txt", b"x")
    rig.store.answers["broken.txt"] = [500] * 1000
    end = rig.run("true", inputs=[input_of("in", file)]).ends[0]
    assert (end.outcome, end.reason) == ("error", "input_unreachable")
    assert end.detail == f"in/broken.txt: {file.uri}: the server answered 500"


def test_an_address_that_the_master_does_not_give(rig: Rig) -> None:
    file = rig.input_file("denied.txt", b"x")
    rig.master.errors[f"input:{file.id}"] = "not_found"
    end = rig.run("true", inputs=[input_of("in", file)]).ends[0]
    assert (end.outcome, end.reason, end.detail) == ("error", "input_not_found", "in/denied.txt: not_found")


def test_a_store_that_does_not_answer_the_master_is_given_its_time(rig: Rig) -> None:
    file = rig.input_file("slow.txt", b"came")
    rig.master.errors[f"input:{file.id}"] = "unavailable"
    threading.Timer(0.7, lambda: rig.master.errors.clear()).start()
    record = rig.run("cat /valohai/inputs/in/slow.txt", inputs=[input_of("in", file)])
    assert record.ends[0].outcome == "complete", record.ends
    gone = rig.input_file("gone.txt", b"never")
    rig.master.errors[f"input:{gone.id}"] = "unavailable"
    end = rig.run("true", inputs=[input_of("in", gone)]).ends[0]
    assert (end.outcome, end.reason) == ("failed", "input_unreachable")
    assert end.detail == "in/gone.txt: the store does not answer the control plane"


@pytest.mark.security("N30")
def test_a_store_that_a_user_named_is_not_this_machine(make_rig) -> None:
    """What listens on the loopback of a worker is its owner's, whatever address a store was given."""
    rig = make_rig(allow_loopback_inputs=False)
    rig.agent.start()
    ours, theirs = rig.input_file("ours.bin", b"ours"), rig.input_file("theirs.bin", b"theirs")
    assert rig.run("true", inputs=[input_of("in", ours)]).ends[0].outcome == "complete"
    rig.master.of_users.add(theirs.id)
    end = rig.run("true", inputs=[input_of("in", theirs)]).ends[0]
    assert (end.outcome, end.reason) == ("error", "input_not_found")
    assert "inputs may not come from" in end.detail
    assert gets(rig, stored_key(theirs)) == 0
    rig.master.of_users.add("out.txt")
    end = rig.run("echo x > /valohai/outputs/out.txt").ends[0]
    assert end.outcome == "failed" and not any(key.endswith("out.txt") for key in rig.store.objects)


@pytest.mark.security("N20")
@pytest.mark.parametrize("path", ["../../outside", "/etc/passwd", "a//b", ""])
def test_a_name_that_leaves_the_folder_is_refused(rig: Rig, path: str) -> None:
    file = rig.input_file("x", b"x", path=path)
    end = rig.run("true", inputs=[input_of("in", file)]).ends[0]
    assert (end.outcome, end.reason) == ("error", "input_not_found")
    assert "is not usable" in end.detail


def test_a_snapshot_with_other_bytes_is_refused(rig: Rig) -> None:
    job = rig.job("echo never", files={"a": "the commit's"})
    rig.store.objects[f"code/{job.code.sha256}"] = b"something else"
    record = rig.master.grant(job)
    end = rig.master.ended(record)
    assert (end.outcome, end.reason) == ("failed", "code_not_found")
    assert "the stored snapshot's bytes are not the commit's" in end.detail
    assert rig.lines(record, "stdout") == []
