"""Outputs: each stored once, with its metadata, whatever the store and the command do."""

from __future__ import annotations

import json

import pytest

from worker.fake_master import Record
from worker.rig import Rig

pytestmark = pytest.mark.needs("engine")
WAIT = "\nuntil [ -e /valohai/outputs/go ]; do sleep 0.05; done"


def stored(rig: Rig, record: Record) -> dict[str, bytes]:
    """Bytes of each output by its name."""
    return {name: rig.store.objects[output["key"]] for name, output in record.outputs.items()}


def let_go(rig: Rig, record: Record) -> None:
    """End a command that waits for the file `go`."""
    (rig.agent.home / "work" / record.job.attempt / "outputs" / "go").touch()


def told(rig: Rig, record: Record, text: str) -> bool:
    return any(text in line for line in rig.lines(record, "status"))


def test_nested_folders_and_odd_names(rig: Rig) -> None:
    record = rig.run(
        "cd /valohai/outputs; mkdir -p a/b; echo 1 > a/b/x; echo 2 > a/x; echo 3 > 'ä %20?.txt'; touch empty"
    )
    assert stored(rig, record) == {"a/b/x": b"1\n", "a/x": b"2\n", "ä %20?.txt": b"3\n", "empty": b""}


def test_what_can_not_be_stored_is_named_and_the_rest_is_stored(rig: Rig) -> None:
    record = rig.run(
        r"cd /valohai/outputs; echo x > 'back\slash'; ln -s /etc/passwd link; mkfifo pipe; echo x > nul.txt; "
        "echo kept > kept"
    )
    assert record.ends[0].outcome == "complete"
    assert set(record.outputs) == {"kept"}
    for text in (
        r"Output 'back\\slash' is not stored: its name has a backslash.",
        "Output 'link' is not stored: it is a link.",
        "Output 'pipe' is not stored: it is no regular file.",
        "Output 'nul.txt' is not stored: a part of its name is that of a device on other systems.",
    ):
        assert text in rig.lines(record, "status")


def test_a_name_that_only_the_store_refuses_costs_that_file(rig: Rig) -> None:
    rig.master.errors["output:odd"] = "bad_name"
    record = rig.run("cd /valohai/outputs; echo x > odd; echo y > good")
    assert (record.ends[0].outcome, set(record.outputs)) == ("complete", {"good"})
    assert told(rig, record, "Output 'odd' is not stored: the store can't keep that name.")


def test_no_more_than_the_job_allows(rig: Rig) -> None:
    record = rig.run("cd /valohai/outputs; touch 1 2 3 4", limits={"outputs_max": 3})
    assert set(record.outputs) == {"1", "2", "3"}
    assert told(rig, record, "Output '4' is not stored: an execution may have 3 outputs.")


def test_a_read_only_file_is_stored_at_once_and_once(rig: Rig) -> None:
    command = "cd /valohai/outputs; echo early > live.txt; chmod 0444 live.txt; echo late > late.txt"
    record = rig.master.grant(rig.job(command + WAIT))
    rig.master.wait(lambda: "live.txt" in record.outputs, "the live output")
    assert not record.ends
    assert record.outputs["live.txt"]["live"] is True
    assert stored(rig, record) == {"live.txt": b"early\n"}
    let_go(rig, record)
    rig.master.ended(record)
    assert stored(rig, record) == {"live.txt": b"early\n", "late.txt": b"late\n", "go": b""}
    assert rig.store.requests["PUT", record.outputs["live.txt"]["key"]] == 1
    assert [data["name"] for data in record.data("output")].count("live.txt") == 1


def test_a_file_that_is_written_again_after_that_stays_as_it_was_stored(rig: Rig) -> None:
    record = rig.master.grant(rig.job("cd /valohai/outputs; echo one > f; chmod 444 f" + WAIT + "; echo two > f"))
    rig.master.wait(lambda: "f" in record.outputs, "the live output")
    let_go(rig, record)
    rig.master.ended(record)
    assert stored(rig, record)["f"] == b"one\n"
    assert told(rig, record, "Output 'f' was changed after it was stored; the stored one stays.")


def test_side_cars_describe_and_are_no_outputs(rig: Rig) -> None:
    model = {"valohai.tags": ["best"], "valohai.alias": "newest", "accuracy": 0.9}
    lines = [{"file": "sub/b.bin", "metadata": {"n": 1}}, {"file": "/valohai/outputs/c.bin", "metadata": {"n": 2}}]
    record = rig.run(
        "cd /valohai/outputs; mkdir sub; touch a.bin sub/b.bin c.bin alone.metadata.json\n"
        f"echo '{json.dumps(model)}' > a.bin.metadata.json\n"
        + "\n".join(f"echo '{json.dumps(line)}' >> valohai.metadata.jsonl" for line in lines)
        + "\necho 'no json' >> valohai.metadata.jsonl; echo '[1]' > c.bin.metadata.json"
    )
    shown = {name: output["metadata"] for name, output in record.outputs.items()}
    assert shown == {"a.bin": model, "sub/b.bin": {"n": 1}, "c.bin": {"n": 2}, "alone.metadata.json": {}}
    assert told(rig, record, "valohai.metadata.jsonl: line 3: it is no JSON")
    assert told(rig, record, "as metadata of its file it can't be used: it is no JSON object")


def test_metadata_may_come_after_its_file_was_stored(rig: Rig) -> None:
    late = '{"file": "model", "metadata": {"valohai.alias": "prod"}}'
    command = f"cd /valohai/outputs; echo m > model; chmod 444 model{WAIT}; echo '{late}' > valohai.metadata.jsonl"
    record = rig.master.grant(rig.job(command))
    rig.master.wait(lambda: "model" in record.outputs, "the live output")
    assert record.outputs["model"]["metadata"] == {}
    let_go(rig, record)
    rig.master.ended(record)
    assert record.outputs["model"]["metadata"] == {"valohai.alias": "prod"}
    assert stored(rig, record)["model"] == b"m\n"


def test_a_store_that_is_away_for_a_while_loses_nothing(rig: Rig) -> None:
    rig.store.answers["output/"] = [503] * 5
    record = rig.run("cd /valohai/outputs; for n in 1 2 3; do echo $n > $n; done")
    assert record.ends[0].outcome == "complete"
    assert stored(rig, record) == {"1": b"1\n", "2": b"2\n", "3": b"3\n"}


def test_an_address_that_ran_out_is_asked_for_again(rig: Rig) -> None:
    rig.store.answers["output/"] = [403]
    record = rig.run("echo x > /valohai/outputs/x")
    assert (record.ends[0].outcome, stored(rig, record)) == ("complete", {"x": b"x\n"})


def test_a_store_that_refuses_is_the_infrastructures_failure(rig: Rig) -> None:
    rig.store.answers["output/"] = [507] * 100
    end = rig.run("echo x > /valohai/outputs/x").ends[0]
    rig.store.answers.clear()
    assert (end.outcome, end.reason, end.exit_code) == ("failed", "store_refused", 0)
    assert end.detail == "x: the store answered 507"


def test_a_command_that_failed_stays_failed_when_its_outputs_are_refused(rig: Rig) -> None:
    rig.store.answers["output/"] = [507] * 100
    record = rig.run("echo x > /valohai/outputs/x; exit 4")
    rig.store.answers.clear()
    assert (record.ends[0].outcome, record.ends[0].reason, record.ends[0].exit_code) == ("error", "exit_code", 4)
    assert told(rig, record, "Not all outputs were stored: store_refused: x: the store answered 507.")


def test_outputs_of_a_failed_command_are_stored(rig: Rig) -> None:
    record = rig.run("echo x > /valohai/outputs/partial; exit 1")
    assert (record.ends[0].exit_code, stored(rig, record)) == (1, {"partial": b"x\n"})


def test_a_large_output_goes_in_parts_where_the_store_says_so(rig: Rig) -> None:
    rig.master.part_bytes = 100_000
    rig.store.answers["parts/"] = [503, 403]
    rig.store.most_busy, rig.store.linger = 0, 0.05
    record = rig.run("python -c \"open('/valohai/outputs/large', 'wb').write(bytes(range(256)) * 2000)\"; touch small")
    rig.master.part_bytes, rig.store.linger = 0, 0.0
    data = bytes(range(256)) * 2000
    assert stored(rig, record) == {"large": data}
    assert (record.outputs["large"]["size"], rig.store.most_busy > 1) == (512_000, True)
    puts = [key for method, key in rig.store.requests.elements() if method == "PUT" and key.startswith("parts/")]
    assert len(puts) == 6 + 2
    assert not [key for key in rig.store.objects if key.startswith("parts/")]


def test_checksums_are_those_of_the_bytes(rig: Rig) -> None:
    record = rig.run("printf abc > /valohai/outputs/abc")
    output = record.outputs["abc"]
    assert output["md5"] == "900150983cd24fb0d6963f7d28e17f72"
    assert output["sha1"] == "a9993e364706816aba3e25717850c26c9cd0d89d"
    assert output["sha256"] == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


@pytest.mark.needs("root")
def test_files_of_any_owner_are_stored(rig: Rig) -> None:
    record = rig.run("cd /valohai/outputs; echo x > f; chmod 200 f; chown 1234:1234 f; mkdir -m 700 d; echo y > d/g")
    assert stored(rig, record) == {"f": b"x\n", "d/g": b"y\n"}
