"""Keeps what a later version must be able to take over: run once at each release, FOLDER is tests/upgrade/vVERSION.

A throwaway control plane runs two executions in containers; its database becomes SQL text, its small files an
archive, the agent's source a file that Python runs, and what its API shows is written down beside them.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import platform
import re
import shutil
import socket
import sqlite3
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx

from infra.installation import GroupSpec, InstallationDocument, QueueSpec, StoreSpec

ROOT = Path(__file__).resolve().parents[1]
REMORA = Path(sys.executable).with_name("remora")
HOME_MARK, PORT_MARK = "@HOME@", "@QUEUE_PORT@"
KEPT = ("access.json", "keys", "stores", "agent/identity")
EPOCH = (1980, 1, 1, 0, 0, 0)
RUN_SECONDS = 180
YAML = """\
- step:
    name: train
    image: python:3.11-slim
    command: python train.py {parameters}
    parameters:
      - {name: epochs, type: integer, default: 3}
- step:
    name: fail
    image: python:3.11-slim
    command: echo about to fail; exit 3
"""
TRAIN = """\
import json, pathlib, sys
for epoch in range(int(sys.argv[1].split("=")[1])):
    print(json.dumps({"epoch": epoch, "loss": 1 / (epoch + 1)}))
print("to stderr", file=sys.stderr)
outputs = pathlib.Path("/valohai/outputs")
(outputs / "model.txt").write_text("a model\\n")
(outputs / "model.txt.metadata.json").write_text(json.dumps({"valohai.tags": ["best"], "by": "train"}))
"""


@contextmanager
def control_plane(home: Path) -> Iterator[httpx.Client]:
    """A control plane in `home`, as an API client; ended afterwards."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("REMORA_")}
    ports = {"REMORA_PORT": str(_free_port()), "REMORA_STREAM_PORT": str(_free_port())}
    environment = {**kept, **ports, "REMORA_HOME": str(home)}
    try:
        subprocess.run([REMORA, "server", "up", "--no-sample"], env=environment, check=True, cwd=ROOT)
        subprocess.run([REMORA, "server", "add-user", "ada"], env=environment, check=True, stdout=subprocess.DEVNULL)
        access = json.loads((home / "access.json").read_text())
        headers = {"Authorization": f"Token {access['token']}"}
        with httpx.Client(base_url=f"{access['url']}/api/v0/", headers=headers, timeout=30, trust_env=False) as api:
            yield api
    finally:
        subprocess.run([REMORA, "server", "down"], env=environment, check=True)


def run_executions(api: httpx.Client) -> list[dict[str, Any]]:
    """One execution that completes and one that fails, in a fresh project; what the API shows of them."""
    project = _made(api.post("projects/", data={"name": "kept"}))["id"]
    package = {"data": ("data.tgz", _archive({"valohai.yaml": YAML, "train.py": TRAIN}), "application/gzip")}
    form = {"description": "kept for upgrades", "yaml_path": "valohai.yaml"}
    commit = _made(api.post(f"projects/{project}/import-package/", files=package, data=form))["identifier"]
    found: list[dict[str, Any]] = []
    for step, more in (("train", {"title": "A kept run", "tags": ["kept"], "parameters": {"epochs": 4}}), ("fail", {})):
        body = {"project": project, "commit": commit, "step": step, **more}
        execution = _made(api.post("executions/", json=body))["id"]
        _wait(api, execution)
        found.append(shown(api, execution))
    return found


def shown(api: httpx.Client, execution: str) -> dict[str, Any]:
    """What must look the same after an upgrade."""
    one = api.get(f"executions/{execution}/").raise_for_status().json()
    events = api.get(f"executions/{execution}/events/", params={"limit": 0}).raise_for_status().json()["events"]
    outputs = api.get(f"executions/{execution}/outputs/").raise_for_status().json()
    points = api.get(f"executions/{execution}/metadata/").raise_for_status().json()
    fields = ("id", "counter", "status", "step", "title", "tags", "image", "command", "ctime")
    return {
        **{name: one[name] for name in fields if name in one},
        "log": [[event["stream"], event["message"]] for event in events if event["stream"] in ("stdout", "stderr")],
        "metadata": points,
        "outputs": [_output(api, output) for output in sorted(outputs, key=lambda output: output["name"])],
    }


def _output(api: httpx.Client, output: dict[str, Any]) -> dict[str, Any]:
    address = api.get(f"data/{output['id']}/download/").raise_for_status().json()["url"]
    data = httpx.get(address, timeout=30, trust_env=False).raise_for_status().content
    return {"id": output["id"], "name": output["name"], "size": output["size"], "text": data.decode()}


def dump(database: Path, home: Path) -> str:
    """The database as SQL text, its state folder's path replaced by a mark, and this machine's name by `machine`."""
    with closing(sqlite3.connect(database)) as connection:
        text = "\n".join(connection.iterdump())
    # Only where it stands as a name: two letters of it may be part of a key.
    name = re.compile(rf"(?<=['\" ]){re.escape(platform.node())}(?=['\",: ])")
    return name.sub("machine", text.replace(str(home), HOME_MARK)) + "\n"


def pack_home(home: Path, target: Path) -> None:
    """Keys, stores and login: what belongs to the database and is no database."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:xz") as tar:
        for name in KEPT:
            tar.add(home / name, name)
    target.write_bytes(buffer.getvalue())


def pack_agent(target: Path) -> None:
    """The agent's source as a file that Python runs; its dependencies are those of the tests."""
    files = {"__main__.py": b"import sys\nfrom worker_bootstrap.__main__ import main\nsys.exit(main())\n"}
    source = ROOT / "worker_bootstrap"
    for path in sorted(source.rglob("*")):
        if path.is_file() and path.suffix != ".pyc" and path.name != "cli.py":
            files[path.relative_to(ROOT).as_posix()] = path.read_bytes()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name, EPOCH), data, zipfile.ZIP_DEFLATED)


def document() -> InstallationDocument:
    """An installation on one's own machines, every part of the document used; marks stand for what a test fills in."""
    stores = [
        StoreSpec(name=purpose, purpose=purpose, kind="folder", location=f"{HOME_MARK}/stores/{purpose}")
        for purpose in ("code", "releases", "logs", "data")
    ]
    group = GroupSpec(
        slug="own-machines",
        name="Own machines",
        description="Machines in the cellar",
        region="here",
        instance_type="box",
        price=1_500_000,
        currency="EUR",
        scale_min=1,
        scale_max=2,
        join_secret=f"file:{HOME_MARK}/join-of-own-machines",
        settings={"lost_after": 300, "proxy": {}},
    )
    return InstallationDocument(
        name="own-machines",
        flavour="on_prem",
        provider="ssh",
        queue=QueueSpec(url=f"redis://127.0.0.1:{PORT_MARK}/0", password=f"file:{HOME_MARK}/master-of-own-machines"),
        stores=stores,
        groups=[group],
    )


def _made(answer: httpx.Response) -> dict[str, Any]:
    if answer.is_error:
        raise RuntimeError(f"{answer.request.url}: {answer.status_code} {answer.text[:500]}")
    return answer.json()


def _wait(api: httpx.Client, execution: str) -> None:
    deadline = time.monotonic() + RUN_SECONDS
    while api.get(f"executions/{execution}/").json()["status"] not in ("complete", "error", "stopped", "crashed"):
        if time.monotonic() > deadline:
            raise RuntimeError(f"execution {execution} does not end")
        time.sleep(0.5)


def _archive(files: dict[str, str]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(text.encode())
            tar.addfile(member, io.BytesIO(text.encode()))
    return buffer.getvalue()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def main() -> None:
    """Write the folder anew."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="tests/upgrade/vVERSION")
    folder: Path = parser.parse_args().folder
    home = Path(tempfile.mkdtemp(prefix="remora-upgrade-"))
    try:
        with control_plane(home) as api:
            expected = run_executions(api)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "database.sql").write_text(dump(home / "remora.db", home))
        pack_home(home, folder / "home.tar.xz")
        pack_agent(folder / "agent.zip")
        (folder / "installation.json").write_text(document().model_dump_json(indent=2) + "\n")
        (folder / "expected.json").write_text(json.dumps(expected, indent=2) + "\n")
    finally:
        shutil.rmtree(home, ignore_errors=True)
    for path in sorted(folder.iterdir()):
        print(f"{hashlib.sha256(path.read_bytes()).hexdigest()[:16]}  {path.stat().st_size:>8}  {path}")


if __name__ == "__main__":
    main()
