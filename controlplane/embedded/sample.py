"""The sample project of a first run: created, sent and run through the API, as a person would."""

from __future__ import annotations

import io
import tarfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from controlplane.embedded.errors import SetupError

PROJECT = "sample-training"
DESCRIPTION = "A small training in plain Python; its code is in samples/training."
FINAL = ("complete", "error", "stopped", "crashed")
LEFT_OUT = ("__pycache__", ".vhignore")


@dataclass(frozen=True)
class SampleRun:
    """How an execution of the sample ended."""

    step: str
    counter: int
    status: str
    detail: str
    url: str


def pack(folder: Path) -> bytes:
    """The folder as a tar.gz; the same files give the same bytes."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=6) as archive:
        for path in sorted(folder.rglob("*")):
            name = path.relative_to(folder)
            if path.is_file() and not any(part in LEFT_OUT for part in name.parts):
                archive.add(path, str(name), filter=_plain)
    packed = bytearray(buffer.getvalue())
    packed[4:8] = bytes(4)
    return bytes(packed)


def _plain(info: tarfile.TarInfo) -> tarfile.TarInfo:
    info.mtime, info.uid, info.gid, info.uname, info.gname = 0, 0, 0, "", ""
    return info


class Sample:
    """Runs the sample against a control plane. Every method raises SetupError with what the API said."""

    def __init__(self, client: httpx.Client, say: Callable[[str], None], timeout: float) -> None:
        self._client = client
        self._say = say
        self._timeout = timeout

    def run(self, folder: Path) -> list[SampleRun]:
        """Project, code, the two steps one after the other. Stops after a step that did not complete."""
        project = self._project()
        commit = self._call(
            "POST",
            f"projects/{project}/import-package/",
            files={"data": ("sample.tar.gz", pack(folder))},
            data={"description": "The sample, as it was shipped"},
        )["identifier"]
        prepared = self._execution({"project": project, "commit": commit, "step": "prepare"})
        if prepared.status != "complete":
            return [prepared]
        wanted = {"project": project, "commit": commit, "step": "train", "inputs": self._inputs(project, prepared)}
        return [prepared, self._execution(wanted)]

    def _project(self) -> str:
        for row in self._call("GET", "projects/", params={"limit": 1000})["results"]:
            if row["name"] == PROJECT:
                return row["id"]
        return self._call("POST", "projects/", json={"name": PROJECT, "description": DESCRIPTION})["id"]

    def _inputs(self, project: str, prepared: SampleRun) -> dict[str, list[str]]:
        outputs = self._call("GET", f"executions/{project}:{prepared.counter}/")["outputs"]
        return {"data": [f"datum://{row['id']}" for row in outputs if row["name"].endswith(".csv")]}

    def _execution(self, wanted: dict[str, Any]) -> SampleRun:
        shown = self._call("POST", "executions/", json=wanted)
        self._say(f"running the sample: {wanted['step']}")
        deadline = time.monotonic() + self._timeout
        while shown["status"] not in FINAL:
            if time.monotonic() > deadline:
                waits = shown["status_detail"] or shown["status"]
                raise SetupError(f"the sample's step {wanted['step']} has not ended in {self._timeout:.0f} s: {waits}")
            time.sleep(0.2)
            shown = self._call("GET", f"executions/{shown['id']}/")
        return SampleRun(
            step=wanted["step"],
            counter=shown["counter"],
            status=shown["status"],
            detail=shown.get("status_detail") or "",
            url=shown["urls"]["display"],
        )

    def _call(self, method: str, path: str, **options: Any) -> Any:
        try:
            answer = self._client.request(method, path, **options)
        except httpx.HTTPError as error:
            raise SetupError(f"the sample: {method} {path}: {error}") from error
        if answer.is_error:
            raise SetupError(f"the sample: {method} {path} answered {answer.status_code}: {answer.text[:500]}")
        return answer.json()
