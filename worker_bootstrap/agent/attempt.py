"""One attempt, from its job document to its end. Each phase can be done again after the agent's restart."""

from __future__ import annotations

import errno
import json
import shutil
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import redis
import urllib3

from worker_bootstrap.agent import reasons
from worker_bootstrap.agent.config import AgentConfig
from worker_bootstrap.agent.container import Sandbox, write_configs
from worker_bootstrap.agent.files import DownloadError, Transfer, unpack
from worker_bootstrap.agent.inputs import fetch_inputs
from worker_bootstrap.agent.logs.client import KeeperClient
from worker_bootstrap.agent.logs.shipper import Shipper
from worker_bootstrap.agent.outputs import Outputs, StoreRefusedError
from worker_bootstrap.agent.relay import RelayServer
from worker_bootstrap.agent.runtime.docker import (
    DockerRuntime,
    EngineError,
    EngineGoneError,
    ExitInfo,
    Firewall,
    ImageMissingError,
)
from worker_bootstrap.agent.wire import UnansweredError, Wire
from worker_bootstrap.protocol.job import Job
from worker_bootstrap.protocol.messages import End, Event, Stop, UrlItem

TICK = 0.2


@dataclass(frozen=True)
class Tools:
    """What every attempt of this agent shares."""

    home: Path
    config: AgentConfig
    wire: Wire
    runtime: DockerRuntime
    firewall: Firewall
    transfer: Transfer


class StoppedError(RuntimeError):
    """The attempt was asked to end before its container ran."""


class AttemptRunner:
    """Runs one attempt in a thread."""

    def __init__(self, job: Job, secrets: dict[str, Any], tools: Tools) -> None:
        self.job = job
        self._secrets = secrets
        self._tools = tools
        self.folder = tools.home / "work" / job.attempt
        self._log = KeeperClient(self.folder / "log", tools.config.engine, int(job.limits.log_spool_bytes))
        self._shipper = Shipper(
            self.folder / "log", self._push_tail, self._upload_log, self._event, job.limits.metadata_per_second
        )
        self._outputs = Outputs(job, self.folder / "outputs", tools, self._event, self._log.status)
        self._stop: Stop | None = None
        self._stopped = threading.Event()
        self._usage: list[list[Any]] = []

    def stop(self, request: Stop) -> None:
        """End it: at once with `kill`, else by SIGINT, SIGTERM, SIGKILL with a grace between."""
        self._stop = request if self._stop is None or request.kill else self._stop
        self._stopped.set()

    def run(self) -> None:
        """To the end, which is emitted exactly once. Never raises."""
        end = self._ended()
        shipping = threading.Thread(target=self._shipper.run, daemon=True)
        if end is None:
            self._log.ensure(self._secrets.get("mask", []))
            shipping.start()
            end = self._guarded()
            self._log.finish(timeout=15)
            self._shipper.finish()
            shipping.join()
            end = End(
                **{**end.__dict__, "time": _now(), "last_seq": self._shipper.last_seq, "lines": self._shipper.lines}
            )
            self._tools.wire.emit("end", self.job.attempt, end)
            (self.folder / "ended").touch()
        self._clean()

    def _ended(self) -> End | None:
        return End("complete", "", "") if (self.folder / "ended").exists() else None

    def _guarded(self) -> End:
        """The attempt's end, every failure turned into its reason."""
        try:
            return self._live()
        except StoppedError:
            return End("stopped", self._stop_reason(), "")
        except DownloadError as error:
            outcome = "failed" if error.code == reasons.INPUT_CHECKSUM else "error"
            return self._failure(outcome, error.code, str(error))
        except ImageMissingError as error:
            return self._failure("error", reasons.IMAGE_NOT_FOUND, str(error))
        except StoreRefusedError as error:
            return self._failure("failed", reasons.STORE_REFUSED, str(error))
        except EngineGoneError as error:
            return self._failure("failed", reasons.ENGINE_GONE, str(error))
        except EngineError as error:
            return self._failure("failed", reasons.ENGINE_ERROR, str(error))
        except UnansweredError as error:
            return self._failure("failed", reasons.AGENT_ERROR, str(error))
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            return self._failure(
                "failed", reasons.DISK_FULL if full else reasons.AGENT_ERROR, str(error.strerror or error)
            )
        except Exception as error:  # noqa: BLE001 - the edge of an attempt: it must end with a reason
            return self._failure("failed", reasons.AGENT_ERROR, f"{type(error).__name__}: {error}")

    def _failure(self, outcome: str, reason: str, detail: str) -> End:
        self._log.status(f"{reason}: {detail[:500]}")
        return End(outcome, reason, "", detail=detail[:1000])

    def _live(self) -> End:
        container = self._tools.runtime.find(self.job.attempt)
        sandbox = Sandbox(self.job, self._secrets, self._tools, self.folder, self._relay)
        if container and self._tools.runtime.was_started(container):
            self._log.status("The agent was started again and found the running container.")
            relay = None
        else:
            container, relay = self._prepare(sandbox)
        try:
            info, why = self._watch(container)
        finally:
            if relay is not None:
                relay.close()
        return self._finish(info, why)

    def _prepare(self, sandbox: Sandbox) -> tuple[str, RelayServer | None]:
        tools, job = self._tools, self.job
        self._log.status(f"Attempt {job.number} on {tools.config.name}")
        if shutil.disk_usage(tools.home).free < tools.config.min_disk_free:
            raise OSError(errno.ENOSPC, "No space left on this machine")
        self._phase("code")
        self._fetch_code()
        self._check_stop()
        self._phase("image")
        digest = tools.runtime.pull(job.container.image, self._log.status)
        self._check_stop()
        self._phase("inputs")
        inputs = fetch_inputs(job, self.folder / "inputs", tools, self._log.status)
        self._check_stop()
        container, relay, config = sandbox.create(digest)
        write_configs(self.folder / "config", job, inputs, config)
        if not self._log.attach(container, timeout=15):
            raise EngineError("the container's output could not be attached")
        self._phase("running")
        self._shipper.last_output = time.monotonic()
        tools.runtime.start(container)
        (self.folder / "started").write_text(str(time.time()))
        self._event("container", {"id": container, "image_digest": digest})
        return container, relay

    def _fetch_code(self) -> None:
        folder, archive = self.folder / "repository", self.folder / "code.tar.gz"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for name in ("config", "inputs", "outputs"):
            (self.folder / name).mkdir(exist_ok=True)
        self._tools.transfer.download(lambda: self._url("code", "code"), archive)
        unpack(archive, folder)
        archive.unlink()

    def _url(self, purpose: str, name: str) -> str:
        (item,) = self._tools.wire.ask_urls(
            self.job.attempt, [UrlItem(name, purpose, name)], self._tools.config.url_timeout
        )
        if item.error:
            raise DownloadError(reasons.INPUT_NOT_FOUND, f"{name}: {item.error}")
        return item.url

    def _watch(self, container: str) -> tuple[ExitInfo, str]:
        """Wait for the end, within the limits. Returns how it ended and why it was stopped (empty: by itself)."""
        tools, limits = self._tools, self.job.limits
        began = float((self.folder / "started").read_text()) if (self.folder / "started").exists() else time.time()
        sampled, signalled, why = time.monotonic(), [], ""
        stop_at = 0.0
        while (info := self._state(container)) is None:
            self._outputs.upload_finished_files()
            now = time.monotonic()
            if now - sampled >= tools.config.usage_interval:
                sampled = now
                self._sample(container)
            if not why:
                why = self._why_stop(began, limits.time_limit, limits.no_output_timeout)
                stop_at = now
            if why:
                self._signal(container, signalled, now - stop_at, limits.stop_grace)
            self._stopped.wait(TICK) if not why else time.sleep(TICK)
        return info, why

    def _state(self, container: str) -> ExitInfo | None:
        """The container's state; an engine that is away for a moment is waited for."""
        for patience in (1, 2, 4, 8):
            try:
                return self._tools.runtime.state(container)
            except EngineGoneError:
                time.sleep(patience)
        return self._tools.runtime.state(container)

    def _why_stop(self, began: float, time_limit: float, no_output: float) -> str:
        if self._stop is not None:
            return self._stop_reason()
        if time_limit and time.time() - began > time_limit:
            return reasons.TIME_LIMIT
        if no_output and time.monotonic() - self._shipper.last_output > no_output:
            return reasons.NO_OUTPUT
        return ""

    def _signal(self, container: str, sent: list[str], waited: float, grace: float) -> None:
        kill = self._stop is not None and self._stop.kill
        for name, after in (("SIGINT", 0.0), ("SIGTERM", grace), ("SIGKILL", 2 * grace)):
            if name not in sent and (waited >= after or (kill and name == "SIGKILL")):
                sent.append(name)
                self._log.status(f"Sent {name}.")
                self._tools.runtime.signal(container, name)

    def _finish(self, info: ExitInfo, why: str) -> End:
        self._phase("uploading")
        self._outputs.upload_all()
        self._send_usage()
        code = info.exit_code
        if why in (reasons.TIME_LIMIT, reasons.NO_OUTPUT):
            return End("error", why, "", exit_code=code)
        if why:
            return End("stopped", why, "", exit_code=code)
        if info.oom_killed and code != 0:
            return End("error", reasons.OOM_KILLED, "", exit_code=code)
        if code == 0:
            return End("complete", reasons.DONE, "", exit_code=0)
        return End("error", reasons.EXIT_CODE, "", exit_code=code, detail=info.error)

    def _relay(self, address: str, token: str) -> RelayServer:
        return RelayServer(
            address, token, lambda call: self._tools.wire.relay(self.job.attempt, call, self._tools.config.url_timeout)
        )

    def _sample(self, container: str) -> None:
        try:
            self._usage.append([_now(), self._tools.runtime.stats(container)])
        except (EngineError, EngineGoneError, KeyError):
            return
        if len(self._usage) >= 6:
            self._send_usage()

    def _send_usage(self) -> None:
        if self._usage:
            self._event("usage", {"samples": self._usage})
            self._usage = []

    def _phase(self, name: str) -> None:
        self._event("phase", {"phase": name, "detail": ""})

    def _event(self, kind: str, data: dict[str, Any]) -> None:
        self._tools.wire.emit("event", self.job.attempt, Event(kind, _now(), data))

    def _push_tail(self, block: bytes, entries: int) -> None:
        try:
            self._tools.wire.push_tail(self.job.attempt, block, entries)
        except redis.ResponseError as error:
            raise redis.RedisError(str(error)) from error

    def _upload_log(self, name: str, data: bytes) -> None:
        """Store a log object; waits as long as it takes, but not beyond the attempt itself being superseded."""
        pause = 0.5
        while True:
            try:
                (item,) = self._tools.wire.ask_urls(
                    self.job.attempt, [UrlItem(name, "log", name, len(data))], self._tools.config.url_timeout
                )
                if item.error == "old_attempt":
                    return
                if not item.error and self._tools.transfer.upload(item.url, item.headers, data) in (200, 201, 204, 412):
                    return
            except (UnansweredError, urllib3.exceptions.HTTPError):
                pass
            time.sleep(pause)
            pause = min(15.0, pause * 2)

    def _check_stop(self) -> None:
        if self._stop is not None:
            raise StoppedError

    def _stop_reason(self) -> str:
        return self._stop.reason if self._stop is not None else reasons.STOPPED

    def _clean(self) -> None:
        """Leave nothing of the attempt on this machine but its end in the outbox."""
        try:
            self._tools.firewall.close(self.job.attempt)
            self._tools.runtime.remove(self.job.attempt)
        except (EngineError, EngineGoneError):
            return
        shutil.rmtree(self.folder, ignore_errors=True)


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")


def save_job(folder: Path, job: dict[str, Any]) -> None:
    """Keep the job document, so that a restarted agent can go on (its secrets are sealed)."""
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / "job.new"
    temporary.write_text(json.dumps(job))
    temporary.replace(folder / "job.json")
