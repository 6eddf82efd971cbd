"""`valohai-utils` of PyPI, unpatched, inside the container."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from compat.sample_code import YAML
from fixtures.inputs import FileServer
from fixtures.stack import FINAL, Stack, wait_until
from fixtures.work import new_work

PARTS = (
    "valohai", "papi", "valohai_yaml", "leval", "yaml", "jsonschema", "jsonschema_specifications", "referencing",
    "rpds", "attr", "attrs", "typing_extensions", "requests", "urllib3", "idna", "certifi", "charset_normalizer",
)  # fmt: skip
CODE = """
import json, pathlib, time
import valohai

print("inside", pathlib.Path("/valohai/config/api.json").is_file())
print("input", open(valohai.inputs("data").path()).read().strip())
print("lazy before", pathlib.Path("/valohai/inputs/lazy/numbers.csv").exists())
print("lazy", open(valohai.inputs("lazy").path()).read().strip())
print("epochs", valohai.parameters("epochs").value)
print("counter", valohai.execution().config.counter, valohai.execution().config.title)
live = valohai.outputs().path("live.txt")
open(live, "w").write("early")
valohai.outputs().live_upload("live.txt")
valohai.set_status_detail("half way")
for epoch in range(valohai.parameters("epochs").value):
    with valohai.logger() as logger:
        logger.log("epoch", epoch)
        logger.log("accuracy", epoch / 10)
print("waiting", flush=True)
go = pathlib.Path("/valohai/outputs/kept/last.txt")
go.parent.mkdir()
time.sleep(6)
go.write_text("late")
with valohai.output_properties() as properties:
    properties.add(file="kept/last.txt", properties={"kind": "last"})
"""


@pytest.fixture(scope="module")
def ran(stack: Stack, served: FileServer, new_folder: Callable[[], Path]) -> dict[str, Any]:
    """Everything that is looked at: while it ran and when it had ended."""
    work = new_work(stack, new_folder(), "utils", served, valohai_yaml=YAML, use_utils_py=CODE)
    vendor = work.vh.folder / "vendor"
    for name in PARTS:
        _copy(name, vendor)
    key = f"{work.project}:" + work.run(
        "utils", "--data", served.url("numbers.csv"), "--lazy", served.url("numbers.csv"), "--epochs", "4"
    )
    with stack.api() as api:

        def early() -> dict[str, Any] | None:
            shown = api.get(f"executions/{key}/").json()
            names = [row["name"] for row in shown["outputs"]]
            return shown if "live.txt" in names or shown["status"] in FINAL else None

        running = wait_until(early, 40, "the live output")
        detail = wait_until(lambda: _detail(api, key), 10, "the status detail")
    ended = stack.wait(key)
    lines = [event["message"] for event in stack.log(key)]
    return {"running": running, "detail": detail, "ended": ended, "lines": lines, "work": work, "key": key}


def _detail(api: Any, key: str) -> str | None:
    shown = api.get(f"executions/{key}/").json()
    return shown["status_detail"] if shown["status_detail"] == "half way" or shown["status"] in FINAL else None


def _copy(name: str, vendor: Path) -> None:
    spec = importlib.util.find_spec(name)
    assert spec is not None, name
    if spec.submodule_search_locations:
        source = Path(next(iter(spec.submodule_search_locations)))
        shutil.copytree(source, vendor / name, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        assert spec.origin
        vendor.mkdir(exist_ok=True)
        shutil.copy(spec.origin, vendor)


def test_it_completes(ran: dict[str, Any]) -> None:
    assert ran["ended"]["status"] == "complete", "\n".join(ran["lines"][-30:])


def test_inputs(ran: dict[str, Any]) -> None:
    assert "input 1,2,3" in ran["lines"]


def test_input_on_demand(ran: dict[str, Any]) -> None:
    """The file's server is on the worker's loopback, out of the container's reach: the relay carries it."""
    assert "lazy before False" in ran["lines"]
    assert "lazy 1,2,3" in ran["lines"]


def test_parameters(ran: dict[str, Any]) -> None:
    assert "epochs 4" in ran["lines"]


def test_execution_knows_itself(ran: dict[str, Any]) -> None:
    assert f"counter {ran['ended']['counter']} utils" in ran["lines"]


def test_metadata(ran: dict[str, Any]) -> None:
    assert ran["ended"]["cumulative_metadata"]["epoch"] == 3
    with ran["work"].stack.api() as api:
        points = api.get(f"executions/{ran['key']}/metadata/").json()
    assert [point["epoch"] for point in points if "epoch" in point] == [0, 1, 2, 3]


def test_live_upload_comes_before_the_end(ran: dict[str, Any]) -> None:
    assert ran["running"]["status"] == "started"
    assert [row["name"] for row in ran["running"]["outputs"]] == ["live.txt"]


def test_outputs(ran: dict[str, Any]) -> None:
    assert sorted(row["name"] for row in ran["ended"]["outputs"]) == ["kept/last.txt", "live.txt"]


def test_set_status_detail(ran: dict[str, Any]) -> None:
    assert ran["detail"] == "half way"


def test_output_properties(ran: dict[str, Any]) -> None:
    datum = next(row for row in ran["ended"]["outputs"] if row["name"] == "kept/last.txt")
    with ran["work"].stack.api() as api:
        assert api.get(f"data/{datum['id']}/").json()["metadata"]["kind"] == "last"
