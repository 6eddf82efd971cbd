"""Executions that read from stores and write to them, by the unmodified client: S3 on versitygw, Azure Blob, Swift."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from controlplane.data.stores.base import ObjectStore
from fixtures.stack import Stack
from fixtures.store_rigs import NEEDS, make_rig
from fixtures.work import IMAGE, counter_of

pytestmark = pytest.mark.needs("redis", "engine", "image")
TYPES = {"s3": "s3", "azure": "azure", "swift": "swift"}
YAML = f"""
- step:
    name: count
    image: {IMAGE}
    command:
      - find /valohai/inputs -type f | sort
      - cat $(find /valohai/inputs -type f | sort) > /valohai/outputs/all.txt
      - wc -c < /valohai/outputs/all.txt
    inputs:
      - name: data
        keep-directories: suffix
- step:
    name: placed
    image: {IMAGE}
    command:
      - find /valohai/inputs -type f | sort
      - python lazy.py
    inputs:
      - {{name: flat, keep-directories: none}}
      - {{name: full, keep-directories: full}}
      - {{name: suffix, keep-directories: suffix}}
      - {{name: named, filename: other.csv}}
      - {{name: lazy, download: on-demand}}
- step:
    name: large
    image: {IMAGE}
    command:
      - head -c 90000000 /dev/urandom > /valohai/outputs/large.bin
      - sha256sum /valohai/outputs/large.bin | cut -c1-64
"""

LAZY = """
import json, pathlib, urllib.request

entry = json.loads(pathlib.Path("/valohai/config/api.json").read_text())["input_request"]
request = urllib.request.Request(entry["url"] + "?inputs=lazy", headers=entry["headers"], method=entry["method"])
for file in json.load(urllib.request.urlopen(request))[0]["files"]:
    print("lazy", file["filename"], urllib.request.urlopen(file["url"]).read().decode())
"""


@dataclass
class Shop:
    """A project whose default store is a bucket of this kind; `store` looks into it past Remora."""

    stack: Stack
    vh: Any
    project: str
    root: str
    store: ObjectStore
    store_id: str

    def put(self, tmp_path: Path, **files: bytes) -> None:
        for name, data in files.items():
            path = tmp_path / "object"
            path.write_bytes(data)
            self.store.put_file(name.replace("__", "/"), path)

    def run(self, step: str, *options: str) -> dict[str, Any]:
        counter = counter_of(self.vh("exec", "run", "--adhoc", step, *options))
        return self.stack.wait(f"{self.project}:{counter}", ("complete", "error"), 120)

    def lines(self, execution: dict[str, Any]) -> list[str]:
        return [event["message"] for event in self.stack.log(execution["id"])]


@pytest.fixture
def shop(stack: Stack, request: pytest.FixtureRequest, new_folder: Callable[[], Path]) -> Shop:
    """Parametrised by the kind of store, indirectly."""
    return open_shop(stack, request, new_folder())


def open_shop(stack: Stack, request: pytest.FixtureRequest, folder: Path) -> Shop:
    kind: str = request.param
    rig, vh = make_rig(kind, request), stack.vh(folder)
    (vh.folder / "valohai.yaml").write_text(textwrap.dedent(YAML))
    (vh.folder / "lazy.py").write_text(LAZY)
    name = f"shop-{kind}-{folder.name}"
    vh("project", "create", "--name", name, "--link", "--yes")
    with stack.api() as api:
        found = api.get("projects/", params={"limit": 9000}).json()["results"]
        project = next(entry["id"] for entry in found if entry["name"] == name)
        body = {"name": name, "type": TYPES[kind], "configuration": rig.config, "project": project}
        made = api.post("stores/", json=body)
        assert made.status_code == 201, made.text
        tried = api.post(f"stores/{made.json()['id']}/test/").json()
        assert tried["ok"], tried
        api.put(f"projects/{project}/", json={"default_store": name}).raise_for_status()
    return Shop(stack, vh, project, made.json()["uri_prefix"], rig.store, made.json()["id"])


def kinds(*names: str) -> Any:
    """S3 in the quick suite, the others where there is time."""
    found = []
    for name in names:
        marks = [pytest.mark.needs(NEEDS[name]), *([] if name == "s3" else [pytest.mark.slow])]
        found.append(pytest.param(name, marks=marks))
    return pytest.mark.parametrize("shop", found, indirect=True)


@kinds("s3", "azure", "swift")
def test_from_a_wildcard_to_an_output_that_is_the_next_input(shop, tmp_path):
    shop.put(tmp_path, set__a=b"one,", set__deep__b=b"two,", set__c=b"three", other=b"not this")
    first = shop.run("count", f"--data={shop.root}set/**")
    lines = shop.lines(first)
    assert first["status"] == "complete", lines
    wanted = [f"/valohai/inputs/data/{name}" for name in ("a", "c", "deep/b")]
    assert [line for line in lines if line.startswith("/valohai/inputs")] == wanted
    assert "13" in lines

    shop.vh("exec", "outputs", str(first["counter"]), "--download", str(tmp_path / "got"))
    assert (tmp_path / "got" / "all.txt").read_bytes() == b"one,threetwo,"
    with shop.stack.api() as api:
        datum = api.get("data/", params={"output_execution": first["id"]}).json()["results"][0]
    key = f"{shop.project}/{first['id']}/1/all.txt"
    assert (datum["store"], datum["storage_uri"]) == (shop.store_id, shop.root + key)
    with shop.store.open(key) as reader:
        assert reader.read() == b"one,threetwo,"

    for address in (f"datum://{datum['id']}", datum["storage_uri"]):
        second = shop.run("count", f"--data={address}")
        assert second["status"] == "complete", shop.lines(second)
        assert "/valohai/inputs/data/all.txt" in shop.lines(second)


@kinds("s3", "azure", "swift")
def test_where_inputs_are_put(shop, served, tmp_path):
    """By each scheme (the store's, http, datum): flat, with all folders, below the wildcard, renamed, on demand."""
    shop.put(tmp_path, set__a=b"one", set__deep__b=b"two")
    served.files["web/folder/numbers.csv"] = b"1,2,3"
    web, one = served.url("web/folder/numbers.csv"), f"{shop.root}set/deep/b"
    with shop.stack.api() as api:
        body = {"url": f"{shop.root}set/a", "project": shop.project}
        adopted = api.post(f"stores/{shop.store_id}/adopt/", json=body).raise_for_status().json()["created"]
    datum = f"datum://{next(iter(adopted.values()))}"
    ran = shop.run(
        "placed", f"--flat={one}", f"--flat={web}", f"--flat={datum}", f"--full={one}", f"--full={web}",
        f"--suffix={shop.root}set/**", f"--named={web}", f"--lazy={one}", f"--lazy={web}", f"--lazy={datum}",
    )  # fmt: skip
    lines = shop.lines(ran)
    assert ran["status"] == "complete", lines
    assert [line.removeprefix("/valohai/inputs/") for line in lines if line.startswith("/valohai/inputs/")] == [
        "flat/a", "flat/b", "flat/numbers.csv", "full/set/deep/b", "full/web/folder/numbers.csv", "named/other.csv",
        "suffix/a", "suffix/deep/b",
    ]  # fmt: skip
    assert [line for line in lines if line.startswith("lazy ")] == [
        "lazy b two",
        "lazy numbers.csv 1,2,3",
        "lazy a one",
    ]


@kinds("s3", "azure", "swift")
def test_a_large_output_goes_in_parts(shop, tmp_path):
    made = shop.run("large")
    lines = shop.lines(made)
    assert made["status"] == "complete", lines
    with shop.stack.api() as api:
        datum = api.get("data/", params={"output_execution": made["id"]}).json()["results"][0]
    assert datum["size"] == 90_000_000
    assert datum["sha256"] in lines
    again = shop.run("count", f"--data=datum://{datum['id']}")
    assert again["status"] == "complete", shop.lines(again)
    assert "90000000" in shop.lines(again)


@kinds("s3")
def test_keys_that_became_wrong_are_said(shop, tmp_path):
    shop.put(tmp_path, a=b"x")
    with shop.stack.api() as api:
        wrong = {"configuration": {"secret_access_key": "another"}}
        api.put(f"stores/{shop.store_id}/", json=wrong).raise_for_status()
        tried = api.post(f"stores/{shop.store_id}/test/").json()
    assert not tried["ok"]
    assert tried["steps"][-1]["remedy"] == "The secret is not that of the access key."
    refused = shop.vh("exec", "run", "--adhoc", "count", f"--data={shop.root}*", code=None)
    assert "can't be listed in the store" in refused.text
    ended = shop.run("count", f"--data={shop.root}a")
    assert ended["status"] == "error"
    assert any("403" in line for line in shop.lines(ended)), shop.lines(ended)
    unknown = shop.vh("exec", "run", "--adhoc", "count", "--data=s3://somebody-elses/x", code=None)
    assert "No store of this project holds" in unknown.text
