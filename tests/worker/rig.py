"""Everything that an agent needs around it: queue, store, master; and the agent's own process."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
import uuid
from pathlib import Path
from typing import Any

from worker.fake_master import JOIN_SECRET, FakeMaster, Record
from worker.queue_server import JOIN_PASSWORD, QueueServer
from worker.store_server import StoreServer
from worker_bootstrap.protocol.job import Code, Container, Input, InputFile, Job, Limits

IMAGE = "python:3.11-slim"
QUICK = {
    "beat_interval": 0.3,
    "resend_after": 0.4,
    "resend_most": 2.0,
    "backoff_first": 0.05,
    "backoff_most": 0.5,
    "ask_interval": 0.5,
    "ask_patience": 30.0,
    "usage_interval": 0.5,
    "usage_send": 2.0,
    "http_connect": 2.0,
    "http_timeout": 10.0,
    "upload_patience": 10.0,
    "download_patience": 2.0,
    "scan_interval": 0.2,
    "engine_patience": 3.0,
    "engine_timeout": 10.0,
    "keeper_wait": 5.0,
    "join_wait": 2.0,
    "rejoin_after": 3.0,
}


def archive(files: dict[str, str | bytes]) -> bytes:
    """A gzipped tar."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in files.items():
            data = content.encode() if isinstance(content, str) else content
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return gzip.compress(buffer.getvalue(), mtime=0)


class AgentProcess:
    """The agent of one home folder: `python -m worker_bootstrap.agent`, or another `command`."""

    def __init__(self, home: Path, settings: dict[str, Any]) -> None:
        self.home = home
        self.command = [sys.executable, "-m", "worker_bootstrap.agent"]
        self.environment: dict[str, str] = {}
        home.mkdir(parents=True, exist_ok=True)
        path = home / "agent.json"
        path.write_text(json.dumps(settings))
        path.chmod(0o600)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> str:
        return (self.home / "agent.log").read_text(errors="replace")

    def start(self) -> None:
        with (self.home / "agent.log").open("ab") as log:
            self._process = subprocess.Popen(
                [*self.command, "--home", str(self.home)],
                stdout=log,
                stderr=log,
                cwd=self.home,
                env={**os.environ, **self.environment},
                start_new_session=True,
            )

    def kill(self) -> None:
        """SIGKILL the agent alone: keepers and containers live on."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def terminate(self) -> float:
        """SIGTERM; returns how long it took to end."""
        assert self._process is not None
        began = time.monotonic()
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(20)
        return time.monotonic() - began

    def wait(self, timeout: float) -> int:
        """The exit code."""
        assert self._process is not None
        return self._process.wait(timeout)

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def stop(self) -> None:
        """End the agent and every line keeper it started."""
        if self.alive:
            self.terminate()
        for lock in self.home.glob("work/*/log/keeper.lock"):
            text = lock.read_text().strip()
            if text.isdigit():
                with_suppressed_kill(int(text))


def with_suppressed_kill(pid: int) -> None:
    try:
        if b"logs.keeper" in Path(f"/proc/{pid}/cmdline").read_bytes():
            os.kill(pid, signal.SIGKILL)
    except (ProcessLookupError, FileNotFoundError):
        return


class Rig:
    """One of each."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.folder = folder
        self.queue = QueueServer(folder / "queue")
        self.queue.start()
        self.store = StoreServer()
        self.master = FakeMaster(self.queue, self.store)
        base: dict[str, Any] = {
            "queue_url": self.queue.url,
            "join_password": JOIN_PASSWORD,
            "join_secret": JOIN_SECRET,
            "group": "group",
            "name": "machine",
            "allow_without_firewall": True,
            **QUICK,
        }
        self.agent = AgentProcess(folder / "agent", base | settings)

    def close(self) -> None:
        self.agent.stop()
        self.master.close()
        self.store.close()
        self.queue.kill()
        remove_containers(self.master.records)

    # ---- jobs ---------------------------------------------------------------------------------------
    def job(
        self,
        command: str,
        *,
        files: dict[str, str | bytes] | None = None,
        code: bytes | None = None,
        inputs: list[Input] | None = None,
        env: dict[str, str] | None = None,
        secrets: dict[str, Any] | None = None,
        execution: str = "",
        number: int = 1,
        organization: str = "organization",
        limits: dict[str, Any] | None = None,
        container: dict[str, Any] | None = None,
        config: dict[str, Any] | None = None,
    ) -> Job:
        """A job whose code is in the store."""
        worker = self.master.worker
        attempt = str(uuid.uuid4())
        snapshot = code if code is not None else archive(files or {"README": "nothing"})
        digest = hashlib.sha256(snapshot).hexdigest()
        self.store.objects[f"code/{digest}"] = snapshot
        sealed = {"env": {}, "mask": [], "relay_token": uuid.uuid4().hex, "registry": None} | (secrets or {})
        options: dict[str, Any] = {"image": IMAGE, "image_pull": "missing"} | (container or {})
        return Job(
            execution=execution or str(uuid.uuid4()),
            attempt=attempt,
            number=number,
            worker=worker,
            installation="installation-of-the-test",
            organization=organization,
            project="project",
            title=command[:40],
            code=Code(digest, digest, len(snapshot)),
            container=Container(command=command, **options),
            limits=Limits(**({"stop_grace": 0.7} | (limits or {}))),
            inputs=inputs or [],
            env={"VH_JOB_ID": f"exec-{attempt}"} | (env or {}),
            config={"execution": {"valohai.execution-title": "A title"}, "parameters": {}} | (config or {}),
            secrets=self.master.seal(worker, attempt, sealed),
        )

    def run(self, command: str, **options: Any) -> Record:
        """Grant it, and wait for its end."""
        record = self.master.grant(self.job(command, **options))
        self.master.ended(record)
        return record

    def input_file(self, name: str, data: bytes, **options: Any) -> InputFile:
        """A file in the store, as the master's own (a datum)."""
        file_id = f"{name}-{uuid.uuid4().hex[:8]}"
        self.store.objects[f"data/{file_id}"] = data
        self.master.addresses[file_id] = self.store.address(f"data/{file_id}")
        shown: dict[str, Any] = {
            "id": file_id,
            "uri": f"datum://{file_id}",
            "path": name,
            "name": name,
            "size": len(data),
            "checksums": {"sha256": hashlib.sha256(data).hexdigest()},
            "version": file_id,
            "datum_id": file_id,
        }
        return InputFile(**(shown | options))

    def web_file(self, name: str, data: bytes, **options: Any) -> InputFile:
        """A file at an address that a user wrote."""
        self.store.objects[name] = data
        uri = self.store.address(name)
        file_id = f"web-{uuid.uuid4().hex[:8]}"
        self.master.addresses[file_id] = uri
        shown: dict[str, Any] = {"id": file_id, "uri": uri, "path": name.rpartition("/")[2], "name": name}
        return InputFile(**(shown | options))

    def container(self, record: Record) -> dict[str, Any]:
        """What the engine says of the attempt's container, which must be there."""
        self.master.wait(lambda: record.data("container"), "the container")
        listed = docker("inspect", record.data("container")[0]["id"])
        return json.loads(listed)[0]

    # ---- logs ---------------------------------------------------------------------------------------
    def lines(self, record: Record, stream: str | None = None) -> list[str]:
        """The complete log from its segments; numbers without hole or repetition."""
        found: list[list[Any]] = []
        for segment in sorted(record.data("segment"), key=lambda data: data["first"]):
            raw = gzip.decompress(self.store.objects[segment["key"]])
            found.extend(json.loads(line) for line in raw.splitlines())
        assert [line[0] for line in found] == list(range(1, len(found) + 1))
        return [line[3] for line in found if stream is None or line[2] == stream]


def docker(*arguments: str) -> str:
    """What the engine's client prints."""
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, timeout=60, check=True)
    return done.stdout.strip()


def input_of(name: str, *files: InputFile) -> Input:
    """A named input."""
    return Input(name, list(files), name)


def remove_containers(attempts: Any) -> None:
    """What failed tests left."""
    for attempt in attempts:
        listed = subprocess.run(
            ["docker", "ps", "-aq", "--filter", f"label=remora.attempt={attempt}"], capture_output=True, text=True
        )
        for container in listed.stdout.split():
            subprocess.run(["docker", "rm", "-f", container], capture_output=True)
