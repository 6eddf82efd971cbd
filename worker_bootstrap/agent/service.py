"""The agent: joins, listens, runs attempts, beats. One composition root for all its parts."""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import redis

from worker_bootstrap.agent import VERSION, deadman, reasons
from worker_bootstrap.agent.attempt.context import Secrets, Tools
from worker_bootstrap.agent.attempt.prepare import remove_tree
from worker_bootstrap.agent.attempt.room import Reserve
from worker_bootstrap.agent.attempt.runner import END_KEY, AttemptRunner
from worker_bootstrap.agent.attempt.state import StateFile
from worker_bootstrap.agent.cache import Cache
from worker_bootstrap.agent.config import AgentConfig, read_config
from worker_bootstrap.agent.http import input_client, signed_client
from worker_bootstrap.agent.identity import IdentityStore, Keys, Membership, facts
from worker_bootstrap.agent.inbox import Inbox
from worker_bootstrap.agent.join import join
from worker_bootstrap.agent.link import Link
from worker_bootstrap.agent.log import logger
from worker_bootstrap.agent.machine import make_runtime
from worker_bootstrap.agent.outbox import Outbox
from worker_bootstrap.agent.questions import Questions
from worker_bootstrap.agent.runtime.base import ContainerRuntimeError, Runtime
from worker_bootstrap.agent.sender import Sender
from worker_bootstrap.agent.slots import NONE, Slots
from worker_bootstrap.protocol import codec, crypto, typed
from worker_bootstrap.protocol.errors import ProtocolError
from worker_bootstrap.protocol.job import Job
from worker_bootstrap.protocol.messages import Accepted, Ack, Beat, Drain, End, Envelope, Hello, Stop

SHUTDOWN = 8.0


class Agent:
    """One machine's agent. `run` returns when `halted` is set or it was drained; containers live on."""

    def __init__(self, home: Path, config: AgentConfig, halted: threading.Event) -> None:
        self._home = home
        self._halted = halted
        self._config = config
        self._runners: dict[str, AttemptRunner] = {}
        self._threads: list[threading.Thread] = []
        self._lock = threading.RLock()
        self._draining = False
        began = time.monotonic()
        self._last_heard: Callable[[], float] = lambda: began
        self._beat_now = threading.Event()
        for name in ("spool", "cache", "work"):
            (home / name).mkdir(parents=True, exist_ok=True, mode=0o700)

    def run(self) -> None:
        """Until it is asked to end."""
        store = IdentityStore(self._home / "identity")
        keys = store.keys(self._config.machine)
        membership = store.membership() or self._join(store, keys)
        if membership is None:
            return
        self._config = read_config(self._home, membership.settings)
        self._wire(store, keys, membership)
        self._resume()
        for name, work in (("sender", self._sender.run), ("inbox", self._inbox.run)):
            self._spawn(name, lambda work=work: work(self._halted))
        self._lead()
        self._shut_down()

    # ---- composition -------------------------------------------------------------------------------
    def _join(self, store: IdentityStore, keys: Keys) -> Membership | None:
        def sleep(seconds: float) -> None:
            self._watch_contact()  # a machine that never gets to join is cut off too
            self._halted.wait(seconds)

        membership = join(self._config, keys, self._halted.is_set, sleep)
        if membership is not None:
            store.keep(membership)
            logger.info("joined as worker %s of group %s", membership.worker, self._config.group)
        return membership

    def _wire(self, store: IdentityStore, keys: Keys, membership: Membership) -> None:
        config = self._config
        self._keys = keys
        self._outbox = Outbox(self._home / "spool" / "outbox.db")
        self._link = Link(config, keys, membership, lambda: self._rejoin(store, keys))
        self._runtime: Runtime = make_runtime(config, self._home, membership.installation, keys.machine)
        self._bind(membership)
        self._questions = Questions(self._link, config.ask_interval)
        self._sender = Sender(config, self._link, self._outbox)
        self._inbox = Inbox(config, self._link, self._outbox, self.handle)
        self._last_heard = lambda: self._inbox.last_heard
        self._slots = Slots(config.slots)
        self._tools = Tools(
            home=self._home,
            config=config,
            link=self._link,
            outbox=self._outbox,
            questions=self._questions,
            runtime=self._runtime,
            open_sealed=keys.seal_key.open,
            cache=Cache(self._home / "cache", config.cache_bytes, config.min_disk_free),
            signed_http=signed_client(config),
            input_http=input_client(config),
            halted=self._halted,
            reserve=Reserve(self._home / "spool" / "reserve", config.disk_reserve),
        )

    def _rejoin(self, store: IdentityStore, keys: Keys) -> Membership | None:
        """The same worker with a new password; another one if the master has forgotten this machine."""
        fresh = self._join(store, keys)
        if fresh is not None:
            self._bind(fresh)
        return fresh

    def _bind(self, membership: Membership) -> None:
        """What another worker left here belongs to nobody any more: its containers are ended."""
        if self._outbox.bind(membership.worker):
            logger.warning("this machine is a new worker now: attempts of the former one are ended")
            with self._lock:
                runners = list(self._runners.values())
            for runner in runners:
                runner.stop(Stop("superseded", kill=True))
            for folder in (self._home / "work").iterdir() if not runners else ():
                self._forget(folder)

    def _resume(self) -> None:
        """Attempts that a former agent left go on where they stood."""
        for folder in sorted((self._home / "work").iterdir()):
            job = self._unfinished(folder)
            if job is None:
                self._forget(folder)
            else:
                self._start(job)

    def _unfinished(self, folder: Path) -> Job | None:
        """The job of an attempt that has not ended and is this worker's."""
        try:
            job = StateFile(folder).job()
        except (ProtocolError, ValueError) as error:
            logger.warning("%s can't be read: %s", folder.name, error)
            return None
        if job is None or job.worker != self._link.worker or self._outbox.has(folder.name, END_KEY):
            return None
        return job

    def _forget(self, folder: Path) -> None:
        try:
            self._runtime.cleanup(folder.name)
        except ContainerRuntimeError as error:
            logger.warning("attempt %s: left for later: %s", folder.name, error)
            return
        remove_tree(folder)

    # ---- messages ----------------------------------------------------------------------------------
    def handle(self, message: Envelope) -> None:
        """One verified message. Raises ProtocolError for a body that does not fit; may come twice."""
        if message.kind == "ack":
            self._sender.on_ack(codec.body(Ack, message).seq)
        elif message.kind in ("urls", "relay"):
            self._questions.on_answer(message)
        elif message.kind == "grant":
            self._grant(message)
        elif message.kind == "stop":
            self._stop_attempt(message)
        elif message.kind == "drain":
            self._drain(codec.body(Drain, message))

    def _grant(self, message: Envelope) -> None:
        job = typed.load(Job, message.body)
        member = self._link.membership
        if job.attempt != message.attempt or job.worker != member.worker or job.installation != member.installation:
            raise ProtocolError(f"job of attempt {job.attempt:.64} for worker {job.worker:.64}")
        if self._is_known(job):
            self._emit_accepted(job, Accepted())
            return
        refused = self._why_refuse(job)
        if refused:
            logger.warning("attempt %s refused: %s", job.attempt, refused.refused)
            self._emit_accepted(job, refused)
            return
        StateFile(self._home / "work" / job.attempt).create(message.body)
        self._outbox.remember(job.execution, job.number, job.attempt)
        self._emit_accepted(job, Accepted())
        self._start(job)
        self._beat_now.set()

    def _is_known(self, job: Job) -> bool:
        with self._lock:
            return job.attempt in self._runners or self._outbox.newest(job.execution) == job.attempt

    def _why_refuse(self, job: Job) -> Accepted | None:
        if "/" in job.attempt or job.attempt in ("", ".", ".."):
            raise ProtocolError("attempt: not an id")
        if self._outbox.is_old(job.execution, job.number):
            raise ProtocolError(f"attempt number {job.number} is not newer than one that is known here")
        if self._draining:
            return Accepted(reasons.DRAINING, "this machine is leaving")
        if len(self._running()) >= 2 * self._config.slots:
            return Accepted(reasons.NO_SLOT, "all slots are taken")
        if self._open_secrets(job) is None:
            return Accepted(reasons.BAD_JOB, "its secrets are not sealed to this machine")
        return None

    def _emit_accepted(self, job: Job, body: Accepted) -> None:
        self._outbox.put("accepted", job.attempt, typed.dumps(body))

    def _stop_attempt(self, message: Envelope) -> None:
        request = codec.body(Stop, message)
        with self._lock:
            runner = self._runners.get(message.attempt)
        if runner is not None:
            runner.stop(request)
        elif not self._outbox.has(message.attempt, END_KEY):
            end = End("unknown", reasons.FORGOTTEN, "", detail="this machine does not know the attempt")
            self._outbox.put("end", message.attempt, typed.dumps(end))

    def _drain(self, body: Drain) -> None:
        if not self._draining:
            logger.info("draining: %s", body.reason or "asked by the master")
        self._draining = True
        self._beat_now.set()

    # ---- attempts ----------------------------------------------------------------------------------
    def _open_secrets(self, job: Job) -> Secrets | None:
        try:
            raw = self._keys.seal_key.open(crypto.unb64(job.secrets), job.attempt.encode())
            return typed.load(Secrets, json.loads(raw))
        except ValueError:
            return None

    def _start(self, job: Job) -> None:
        secrets = self._open_secrets(job)
        if secrets is None:
            end = End("failed", reasons.AGENT_ERROR, "", detail="its secrets are not sealed to this machine")
            self._outbox.put("end", job.attempt, typed.dumps(end), END_KEY)
            self._forget(self._home / "work" / job.attempt)
            return
        runner = AttemptRunner(self._tools, job, secrets)
        ticket = self._slots.enter()
        with self._lock:
            self._runners[job.attempt] = runner
        self._threads.append(self._spawn(f"attempt-{job.number}", lambda: self._run_attempt(runner, ticket)))

    def _run_attempt(self, runner: AttemptRunner, ticket: object) -> None:
        slot = NONE

        def take() -> int:
            nonlocal slot
            slot = self._slots.take(ticket, runner.slot, self._halted.is_set, lambda: runner.stopping)
            return slot

        try:
            runner.run(take)
        finally:
            self._slots.leave(ticket)
            if slot != NONE:
                self._slots.give(slot)
            with self._lock:
                self._runners.pop(runner.job.attempt, None)
                self._threads = [thread for thread in self._threads if thread.is_alive()]
            self._beat_now.set()

    def _running(self) -> list[str]:
        with self._lock:
            return sorted(attempt for attempt, runner in self._runners.items() if not runner.ended)

    # ---- leading -----------------------------------------------------------------------------------
    def _lead(self) -> None:
        """Hello, then beats; rules, orphans and the dead-man timer in between."""
        greeted = False
        orphans_at = time.monotonic()
        while not self._halted.is_set():
            greeted = greeted or self._hello()
            self._beat()
            self._tools.reserve.keep()
            if time.monotonic() >= orphans_at:
                orphans_at = time.monotonic() + self._config.orphan_interval
                self._sweep()
            if self._draining and not self._running() and not self._outbox.pending():
                logger.info("drained: leaving")
                self._halted.set()
            self._watch_contact()
            self._beat_now.wait(self._config.beat_interval)
            self._beat_now.clear()

    def _hello(self) -> bool:
        try:
            self._link.say("hello", Hello(VERSION, self._config.slots, self._running(), facts()))
        except redis.RedisError:
            return False
        return True

    def _beat(self) -> None:
        running = self._running()
        # After the list: an attempt that left it meanwhile has its end among the numbers up to this one.
        seq = self._outbox.newest_seq()
        free = 0 if self._draining else max(0, self._config.slots - len(running))
        disk = shutil.disk_usage(self._home).free
        try:
            self._link.say("beat", Beat(free, running, self._outbox.position(), self._draining, disk, seq))
        except redis.RedisError as error:
            logger.warning("no beat: %s", error)

    def _sweep(self) -> None:
        """Put firewall rules back, and take away containers and folders that no attempt owns."""
        try:
            self._runtime.refresh_rules()
            for attempt in self._runtime.list_attempts():
                if not self._is_owned(attempt):
                    logger.warning("container of attempt %s has no owner: removed", attempt)
                    self._runtime.cleanup(attempt)
        except ContainerRuntimeError as error:
            logger.warning("the engine is away: %s", error)
        for folder in (self._home / "work").iterdir():
            if self._outbox.has(folder.name, END_KEY) and not self._is_owned(folder.name):
                self._forget(folder)

    def _is_owned(self, attempt: str) -> bool:
        with self._lock:
            return attempt in self._runners

    def _watch_contact(self) -> None:
        contact = deadman.Contact(self._last_heard(), bool(self._running()))
        deadman.watch(self._config, contact)

    def _shut_down(self) -> None:
        """Attempts stop where they are and are found again; nobody waits longer than the service's patience."""
        deadline = time.monotonic() + SHUTDOWN
        for thread in list(self._threads):
            thread.join(max(0.0, deadline - time.monotonic()))
        logger.info("ended; %d containers run on", len(self._running()))

    @staticmethod
    def _spawn(name: str, work: Any) -> threading.Thread:
        thread = threading.Thread(target=work, name=name, daemon=True)
        thread.start()
        return thread
