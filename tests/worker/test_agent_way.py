"""From a grant to its outputs, on a real engine."""

from __future__ import annotations

import json

import pytest

from worker.rig import Rig

pytestmark = pytest.mark.needs("engine")


def test_a_command_runs_and_its_log_and_outputs_arrive(rig: Rig) -> None:
    record = rig.run(
        "cat greeting.txt\necho to stderr >&2\necho '{\"loss\": 0.5}'\necho result > /valohai/outputs/model.txt",
        files={"greeting.txt": "hello from the code\n"},
    )
    end = record.ends[0]
    assert (end.outcome, end.reason, end.exit_code) == ("complete", "done", 0)
    assert rig.lines(record, "stdout") == ["hello from the code", '{"loss": 0.5}']
    assert rig.lines(record, "stderr") == ["to stderr"]
    assert end.lines == len(rig.lines(record))
    assert record.phases == ["code", "inputs", "image", "running", "uploading"]
    output = record.outputs["model.txt"]
    assert rig.store.objects[output["key"]] == b"result\n"
    assert output["size"] == 7
    assert [point[1] for data in record.data("metadata") for point in data["points"]] == [{"loss": 0.5}]
    assert json.dumps(record.data("container"))
    rig.master.wait(lambda: not list((rig.agent.home / "work").iterdir()), "its folder to go")
