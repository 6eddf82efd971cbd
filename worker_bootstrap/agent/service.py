"""The agent: joins, listens, runs attempts, beats."""

from __future__ import annotations

import json
import shutil
import sys
import threading
import time
from pathlib import Path
from typing import Any

import redis

from worker_bootstrap.agent import reasons
from worker_bootstrap.agent.attempt import AttemptRunner, Tools, save_job
from worker_bootstrap.agent.config import AgentConfig
from worker_bootstrap.agent.files import Transfer
from worker_bootstrap.agent.identity import (
    VERSION,
    Identity,
    JoinRefusedError,
    connect,
    facts,
    join,
    load_identity,
    save_identity,
)
from worker_bootstrap.agent.runtime.docker import DockerRuntime, EngineGoneError, Firewall
from worker_bootstrap.agent.wire import Outbox, Wire
from worker_bootstrap.protocol import codec, crypto
from worker_bootstrap.protocol.errors import ProtocolError
from worker_bootstrap.protocol.job import Job
from worker_bootstrap.protocol.messages import Accepted, Beat, Drain, End, Envelope, Hello, Stop
from worker_bootstrap.protocol.typed import load


class Agent:
    """One machine's agent. `run` returns when `stop` is set; containers live on."""

    def __init__(self, home: Path, config: AgentConfig, stop: threading.Event) -> None:
        self._home = home
        self._config = config
        self._stop = stop
        self._runners: dict[str, AttemptRunner] = {}
        self._threads: dict[str, threading.Thread] = {}
        self._lock = threading.Lock()
        self._draining = False
        for name in ("spool", "cache", "work"):
            (home / name).mkdir(parents=True, exist_ok=True)

    def run(self) -> None:
        """Until `stop`."""
        firewall = Firewall()
        if not firewall.active and not self._config.allow_without_firewall:
            raise JoinRefusedError("firewall rules need root: run the agent as root")
        identity = self._identity()
        if identity is None:
            return
        outbox = Outbox(self._home / "spool" / f"{identity.worker}.db")
        client = connect(self._config, identity.queue_user, identity.queue_password)
        self._wire = Wire(client, identity, outbox, self._config.resend_after, log)
        runtime = DockerRuntime(self._config.engine)
        self._tools = Tools(
            self._home, self._config, self._wire, runtime, firewall, Transfer(self._config.http_timeout)
        )
        self._identity_now = identity
        self._resume()
        threads = [
            threading.Thread(target=self._wire.run_sender, args=(self._stop,), daemon=True),
            threading.Thread(target=self._wire.run_receiver, args=(self._stop, self._handle), daemon=True),
        ]
        for thread in threads:
            thread.start()
        self._beats()

    def _identity(self) -> Identity | None:
        """The stored identity; joins when there is none, again and again until it is answered."""
        path = self._home / "identity.json"
        identity = load_identity(path)
        while not identity.worker and not self._stop.is_set():
            try:
                identity = join(self._config, identity)
                save_identity(path, identity)
                log(f"joined as {identity.worker}")
            except (JoinRefusedError, redis.RedisError) as error:
                log(f"not joined yet: {error}")
                self._stop.wait(2.0)
        return identity if identity.worker else None

    def _resume(self) -> None:
        """Attempts that a former agent left: their containers are found again."""
        for folder in sorted((self._home / "work").iterdir()):
            document = folder / "job.json"
            if document.exists():
                self._start(load(Job, json.loads(document.read_text())))
            else:
                shutil.rmtree(folder, ignore_errors=True)

    def _handle(self, message: Envelope) -> None:
        if message.kind == "grant":
            self._grant(message)
        elif message.kind == "stop":
            self._stop_attempt(message)
        elif message.kind == "drain":
            codec.body(Drain, message)
            self._draining = True

    def _grant(self, message: Envelope) -> None:
        job = load(Job, message.body)
        if job.worker != self._identity_now.worker or job.attempt != message.attempt:
            raise ProtocolError("the job is for another worker or attempt")
        with self._lock:
            known = job.attempt in self._runners or self._seen(job)
        if not known:
            save_job(self._home / "work" / job.attempt, message.body)
            self._remember(job)
            self._wire.emit("accepted", job.attempt, Accepted())
            self._start(job)

    def _seen(self, job: Job) -> bool:
        """A grant that came twice, or an attempt older than one that this machine ran."""
        path = self._home / "spool" / f"seen-{job.execution}"
        return path.exists() and int(path.read_text()) >= job.number

    def _remember(self, job: Job) -> None:
        (self._home / "spool" / f"seen-{job.execution}").write_text(str(job.number))

    def _start(self, job: Job) -> None:
        secrets = self._open_secrets(job)
        if secrets is None:
            self._wire.emit("end", job.attempt, End("failed", reasons.AGENT_ERROR, "", detail="sealed secrets"))
            return
        runner = AttemptRunner(job, secrets, self._tools)
        thread = threading.Thread(target=self._run_attempt, args=(runner,), daemon=True)
        with self._lock:
            self._runners[job.attempt], self._threads[job.attempt] = runner, thread
        thread.start()

    def _run_attempt(self, runner: AttemptRunner) -> None:
        try:
            runner.run()
        finally:
            with self._lock:
                self._runners.pop(runner.job.attempt, None)
                self._threads.pop(runner.job.attempt, None)
            self._beat()

    def _open_secrets(self, job: Job) -> dict[str, Any] | None:
        try:
            raw = self._identity_now.seal_key.open(crypto.unb64(job.secrets), job.attempt.encode())
            return json.loads(raw)
        except ValueError:
            return None

    def _stop_attempt(self, message: Envelope) -> None:
        with self._lock:
            runner = self._runners.get(message.attempt)
        if runner is not None:
            runner.stop(codec.body(Stop, message))
        elif not (self._home / "work" / message.attempt).exists():
            self._wire.emit("end", message.attempt, End("unknown", reasons.FORGOTTEN, ""))

    def _beats(self) -> None:
        hello = False
        while not self._stop.is_set():
            try:
                if not hello:
                    self._wire.say("hello", Hello(VERSION, self._config.slots, self._running(), facts()))
                    hello = True
            except redis.RedisError as error:
                log(f"queue away: {error}")
            self._beat()
            self._stop.wait(self._config.beat_interval)

    def _beat(self) -> None:
        running = self._running()
        disk = shutil.disk_usage(self._home).free
        free = 0 if self._draining else max(0, self._config.slots - len(running))
        try:
            self._wire.say("beat", Beat(free, running, self._wire.read_position, self._draining, disk))
        except redis.RedisError as error:
            log(f"queue away: {error}")

    def _running(self) -> list[str]:
        with self._lock:
            return sorted(self._runners)


def wait_for_engine(config: AgentConfig, stop: threading.Event) -> None:
    """Until the engine answers."""
    runtime = DockerRuntime(config.engine)
    while not stop.is_set():
        try:
            runtime.ping()
            return
        except EngineGoneError as error:
            log(f"engine away: {error}")
            stop.wait(2.0)


def log(message: str) -> None:
    """A line of the agent's own log."""
    print(time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), message, file=sys.stderr, flush=True)
