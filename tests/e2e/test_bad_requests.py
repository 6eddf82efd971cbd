"""Bad input that is refused before it is accepted: people see one sentence, and nothing is left behind."""

from __future__ import annotations

import gzip
import io
import tarfile
from typing import Any

import httpx
import pytest

from fixtures.bench import YAML, Bench, archive
from fixtures.refusals import check_says, refusals

BOMB = "a: &a [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{new}: &{new} [{','.join(['*' + old] * 10)}]\n" for old, new in zip("abcdef", "bcdefg", strict=True)
)


def link(name: str, target: str) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = tarfile.SYMTYPE, target
    return info


def device(name: str) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.devmajor, info.devminor = tarfile.CHRTYPE, 1, 3
    return info


def bomb_archive() -> bytes:
    """60 MB of zeros in some 60 kB."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        info = tarfile.TarInfo("zeros")
        info.size = 60_000_000
        tar.addfile(info, io.BytesIO(bytes(info.size)))
    return buffer.getvalue()


GOOD = {"valohai.yaml": YAML.encode()}
ARCHIVES: dict[str, bytes] = {
    "broken YAML": archive({"valohai.yaml": b"- step:\n    name: a\n  image: [\n"}),
    "YAML bomb": archive({"valohai.yaml": BOMB.encode()}),
    "YAML that is no list of steps": archive({"valohai.yaml": b"step: {name: a}\n"}),
    "no valohai.yaml in the archive": archive({"train.py": b""}),
    "archive that is none": b"this is no archive",
    "archive cut off": archive(GOOD)[:-20],
    "archive with `../`": archive({**GOOD, "../evil.py": b"x"}),
    "archive with an absolute name": archive({**GOOD, "/etc/evil": b"x"}),
    "archive with a link that leaves it": archive(GOOD, [link("link", "/etc/passwd")]),
    "archive with a device": archive(GOOD, [device("null")]),
    "archive bomb": bomb_archive(),
}
REQUESTS: dict[str, dict[str, Any]] = {
    "missing step": {"step": "none-such"},
    "wrong parameter type": {"step": "strict", "parameters": {"epochs": "many"}},
    "unknown parameter": {"step": "strict", "parameters": {"epochs": 1, "speed": 2}},
    "missing parameter": {"step": "strict"},
    "missing input": {"step": "needy"},
    "input of an unknown kind": {"step": "needy", "inputs": {"data": ["ftp://host/file"]}},
    "datum that does not exist": {"step": "needy", "inputs": {"data": ["datum://none-such"]}},
    "unknown environment": {"environment": "moon"},
    "image that is no name": {"image": "no image!"},
    "unknown commit": {"commit": "~none"},
}


def check_refusal(what: str, answer: httpx.Response) -> None:
    """Status, field and sentence are those of the page."""
    status, field = refusals()[what][0].split()
    assert answer.status_code == int(status), answer.text
    (problem,) = answer.json()[field.strip("`")]
    assert problem["code"]
    check_says(what, problem["message"])


@pytest.mark.parametrize("what", ARCHIVES)
def test_archive_is_refused(bench: Bench, what: str) -> None:
    with bench.stack.api() as api:
        before = api.get("commits/", params={"project": bench.project}).json()["count"]
        check_refusal(what, bench.send(ARCHIVES[what]))
        assert api.get("commits/", params={"project": bench.project}).json()["count"] == before


@pytest.mark.parametrize("what", REQUESTS)
def test_request_is_refused(bench: Bench, what: str) -> None:
    with bench.stack.api() as api:
        before = api.get("executions/", params={"project": bench.project}).json()["count"]
        check_refusal(what, bench.ask(**REQUESTS[what]))
        assert api.get("executions/", params={"project": bench.project}).json()["count"] == before


def test_gzip_of_zeros_takes_no_memory(bench: Bench) -> None:
    """A stream that never becomes a tar header."""
    answer = bench.send(gzip.compress(bytes(80_000_000)))
    assert answer.status_code == 400, answer.text


def test_body_that_is_no_json(bench: Bench) -> None:
    with bench.stack.api() as api:
        answer = api.post("executions/", content=b"{", headers={"Content-Type": "application/json"})
    assert answer.status_code == 400 and "JSON" in answer.text
