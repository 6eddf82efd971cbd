"""One attempt's thread: the states of state.py, each step safe to do again."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from worker_bootstrap.agent import reasons
from worker_bootstrap.agent.attempt import limits
from worker_bootstrap.agent.attempt.calls import ContainerCalls
from worker_bootstrap.agent.attempt.context import Context, Control, Secrets, Tools, attempt_folder, now
from worker_bootstrap.agent.attempt.engine import PatientEngine
from worker_bootstrap.agent.attempt.errors import AttemptError, HaltedError, from_os_error, infrastructure_error
from worker_bootstrap.agent.attempt.log import AttemptLog, SegmentUpload, live_tail
from worker_bootstrap.agent.attempt.outputs import Outputs
from worker_bootstrap.agent.attempt.prepare import Preparation, remove_tree
from worker_bootstrap.agent.attempt.room import has_room
from worker_bootstrap.agent.attempt.state import (
    ENDING,
    PREPARE,
    RUNNING,
    UPLOADING,
    AttemptState,
    StateFile,
    Verdict,
)
from worker_bootstrap.agent.attempt.upload import SupersededError, Uploader
from worker_bootstrap.agent.attempt.usage import UsageSampler
from worker_bootstrap.agent.files import FULL
from worker_bootstrap.agent.log import logger
from worker_bootstrap.agent.logs.types import KeeperError, LogPolicy, Shipped
from worker_bootstrap.agent.relay import RelayServer
from worker_bootstrap.agent.runtime.base import ContainerRuntimeError, EngineGoneError, ExitInfo, Handle
from worker_bootstrap.agent.slots import NONE
from worker_bootstrap.protocol import typed
from worker_bootstrap.protocol.job import Job
from worker_bootstrap.protocol.messages import End, Stop

TICK = 0.2
END_KEY = "end"
LAST_OUTPUT = 64 << 20
OLD = "superseded"


class AttemptRunner:
    """`run` returns when the attempt has ended, or the agent ends."""

    def __init__(self, tools: Tools, job: Job, secrets: Secrets) -> None:
        self.job = job
        self.ended = False
        self._tools = tools
        folder = attempt_folder(tools.home, job.attempt)
        self._file = StateFile(folder)
        self._state: AttemptState = self._file.load()
        self._control = Control()
        if self._state.stop:
            self._control.stop(typed.load(Stop, self._state.stop))
        spool = int(job.limits.log_spool_bytes)
        hidden = [*secrets.mask, secrets.relay_token]
        self._log = AttemptLog(folder / "log", spool, job.log_first_seq, hidden, tools.runtime.engine_url)
        self._context = Context(tools, job, secrets, self._control, self._log.status)
        config = tools.config
        self._engine = PatientEngine(config.engine_patience, config.backoff_first, self._context.pause)
        self._outputs = Outputs(self._context, folder / "outputs")
        self._preparation = Preparation(self._context, self._engine, self._phase, self._open_relay)
        self._relay: RelayServer | None = None
        self._made: Handle | None = None
        self._held_at = 0.0
        self._folder = folder

    @property
    def slot(self) -> int:
        """The place it had before a restart; -1 for none."""
        return self._state.slot

    @property
    def stopping(self) -> bool:
        """Whether it was asked to end."""
        return self._control.request is not None

    def stop(self, request: Stop) -> None:
        """End it: at once with `kill`, else by signals with a grace between. Kept on disk."""
        if self._control.stop(request):
            self._state.stop = asdict(request)
            self._file.save(self._state)

    def run(self, take_slot: Callable[[], int]) -> None:
        """Through all states. Never raises: every failure becomes the attempt's end."""
        try:
            again = self._state.slot != NONE
            self._guarded(lambda: self._save(slot=take_slot()))
            if self._state.phase == PREPARE:
                self._preparation.begin(again=again)
            self._guarded(self._open_log)
            while self._state.phase != ENDING:
                self._guarded(self._step)
            self._end()
        except HaltedError:
            logger.info("attempt %s goes on under the next agent", self.job.attempt)
        finally:
            self._close()

    # ---- states ------------------------------------------------------------------------------------
    def _step(self) -> None:
        phase = self._state.phase
        if phase == PREPARE:
            self._prepare()
        elif phase == RUNNING:
            self._run()
        elif phase == UPLOADING:
            self._upload()

    def _prepare(self) -> None:
        self._context.alive()
        self._log.status(f"Attempt {self.job.number} on {self._context.config.name}.")
        handle = self._preparation.run(self._state.slot)
        self._log.attach(handle.id)
        self._context.alive()
        self._context.event("container", {"id": handle.id, "image_digest": self._preparation.image}, "container")
        self._save(phase=RUNNING, image=self._preparation.image)
        self._made = handle

    def _run(self) -> None:
        """Also the way of an agent that was started again: the container is found, and its keeper."""
        handle = self._made or self._found()
        self._phase("running")
        if self._relay is None:
            self._reopen_relay()
        self._log.ensure(handle.id)
        self._start(handle)
        self._outputs.start_live()
        try:
            info = self._watch(handle)
        finally:
            self._outputs.stop_live()
        memory = self._memory_limit(handle) if info.oom_killed else 0
        verdict = limits.verdict(info, self._state.why, memory)
        # What a failed attempt wrote is not kept: another one begins.
        self._save(phase=ENDING if verdict.outcome == "failed" else UPLOADING, verdict=asdict(verdict))

    def _memory_limit(self, handle: Handle) -> int:
        runtime = self._tools.runtime
        return self._engine.call(lambda: runtime.memory_limit(handle))

    def _found(self) -> Handle:
        runtime, attempt = self._tools.runtime, self.job.attempt
        handle = self._engine.call(lambda: runtime.find(attempt))
        if handle is None:
            raise infrastructure_error(reasons.ENGINE_GONE, "the engine lost the container")
        return handle

    def _start(self, handle: Handle) -> None:
        """Once only: a container that has ended must not be started again."""
        runtime = self._tools.runtime
        if self._state.started_at:
            self._log.status("The agent was started again; the container ran on.")
            return
        if self._made or not self._has_started(handle):
            self._engine.call(lambda: runtime.start(handle))
        self._save(started_at=time.time())

    def _has_started(self, handle: Handle) -> bool:
        runtime = self._tools.runtime
        ended = self._engine.call(lambda: runtime.wait(handle, 0.0))
        return ended is not None or self._engine.call(lambda: runtime.running(handle))

    def _watch(self, handle: Handle) -> ExitInfo:
        """Until the container has ended, by itself or by its limits."""
        runtime, config = self._tools.runtime, self._context.config
        usage = UsageSampler(config.usage_interval, config.usage_send, lambda: runtime.stats(handle), self._emit_usage)
        stopping: float | None = None
        sent = ""
        opened = time.time()
        try:
            while True:
                self._context.halt()
                info = self._engine.call(lambda: self._wait(handle))
                if info is not None:
                    return info
                usage.tick()
                self._log.ensure(handle.id)
                if stopping is None and self._wants_stop(opened):
                    stopping = time.monotonic()
                if stopping is not None:
                    sent = self._signal(handle, stopping, sent)
        except LookupError as error:
            raise infrastructure_error(reasons.ENGINE_GONE, "the engine lost the container") from error
        finally:
            usage.flush()

    def _wait(self, handle: Handle) -> ExitInfo | None:
        """A full spool may be why the engine does not answer: the container has ended, its last output is not taken."""
        try:
            return self._tools.runtime.wait(handle, TICK)
        except EngineGoneError:
            if self._log.blocked():
                self._log.release(LAST_OUTPUT)
            raise

    def _wants_stop(self, opened: float) -> bool:
        """Whether a limit or a person says so; the reason is kept."""
        ran = time.time() - self._state.started_at
        silent = time.time() - max(opened, self._log.last_output(), self._held_at)
        most = self.job.limits.no_output_timeout
        if most and silent >= most and self._log.blocked():
            # It is we who hold it up.
            self._held_at, silent = time.time(), 0.0
        full = not has_room(self._folder, self._context.config.disk_floor)
        why = self._state.why or limits.why_stop(self._control.request, self.job.limits, ran, silent, disk_full=full)
        if why and why != self._state.why:
            self._save(why=why)
        return bool(why)

    def _signal(self, handle: Handle, stopping: float, sent: str) -> str:
        request = self._control.request
        kill = (request is not None and request.kill) or self._state.why == reasons.DISK_FULL
        due = limits.signal_due(time.monotonic() - stopping, self.job.limits.stop_grace, kill=kill)
        if due == sent:
            return sent
        self._log.status(f"Ending the command: {due}.")
        self._log.release(None if due == "SIGKILL" else LAST_OUTPUT)
        self._engine.call(lambda: self._tools.runtime.signal(handle, due))
        return due

    def _upload(self) -> None:
        self._close_relay()
        self._log.drain()
        request = self._control.request
        if request is None or not request.kill:
            self._phase("uploading")
            self._outputs.store_all()
        self._save(phase=ENDING)

    def _end(self) -> None:
        """The rest of the log, and then the end: once, kept on disk before anything is removed."""
        verdict = Verdict(**(self._state.verdict or asdict(Verdict("failed", reasons.AGENT_ERROR))))
        self._close_relay()
        if not self._tools.outbox.has(self.job.attempt, END_KEY):
            shipped = self._ship_rest(verdict)
            body = End(
                outcome=verdict.outcome,
                reason=verdict.reason,
                time=now(),
                exit_code=verdict.exit_code,
                detail=verdict.detail[:1000],
                last_seq=shipped.last_seq if shipped else 0,
                lines=shipped.lines if shipped else 0,
            )
            self._tools.outbox.put("end", self.job.attempt, typed.dumps(body), END_KEY)
            logger.info("attempt %s ended: %s %s", self.job.attempt, verdict.outcome, verdict.reason)
        self.ended = True
        self._clean()

    def _ship_rest(self, verdict: Verdict) -> Shipped | None:
        if self._is_superseded():
            self._log.abandon()
            return None
        self._log.status(_last_words(verdict))
        while (shipped := self._log.close(self._context.config.keeper_wait)) is None:
            self._context.halt()
            if self._is_superseded():
                self._log.abandon()
                return None
        return shipped

    def _is_superseded(self) -> bool:
        request = self._control.request
        return request is not None and request.kill and request.reason == OLD

    def _clean(self) -> None:
        """Nothing of the attempt stays on this machine; what can't be removed now is by the next sweep."""
        self._preparation.settle()
        try:
            self._tools.runtime.cleanup(self.job.attempt)
        except ContainerRuntimeError as error:
            logger.warning("attempt %s: left for the next sweep: %s", self.job.attempt, error)
            return
        if not remove_tree(self._folder):
            logger.warning("attempt %s: files that root wrote stay in %s", self.job.attempt, self._folder)
        self._tools.outbox.forget_keys(self.job.attempt, END_KEY)

    # ---- failures ----------------------------------------------------------------------------------
    def _guarded(self, work: Callable[[], None]) -> None:
        """Do it; turn what goes wrong into the attempt's end."""
        try:
            work()
        except HaltedError:
            raise
        except SupersededError:
            self._fail(AttemptError("stopped", OLD))
        except AttemptError as error:
            self._fail(error)
        except KeeperError as error:
            self._fail(infrastructure_error(reasons.AGENT_ERROR, str(error)))
        except OSError as error:
            self._fail(from_os_error(error))
        except Exception as error:  # noqa: BLE001 - the edge of an attempt: it must end with a reason
            logger.exception("attempt %s", self.job.attempt)
            self._fail(infrastructure_error(reasons.AGENT_ERROR, f"{type(error).__name__}: {error}"))

    def _fail(self, error: AttemptError) -> None:
        """The failure is the end, unless the command had failed or been stopped before: that is not tried again."""
        before = self._state.verdict or {}
        if before.get("outcome") in ("error", "stopped"):
            self._log.status(f"Not all outputs were stored: {error}.")
            self._save(phase=ENDING)
            return
        code = before.get("exit_code")
        verdict = Verdict(error.outcome, error.reason, code, error.detail)
        self._save(phase=ENDING, verdict=asdict(verdict))

    # ---- small parts -------------------------------------------------------------------------------
    def _open_log(self) -> None:
        config = self._context.config
        policy = LogPolicy(
            metadata_per_second=self.job.limits.metadata_per_second,
            retry_first=config.backoff_first,
            retry_most=config.backoff_most,
        )
        uploader = Uploader(self._context, "log", 0.0)
        tail = live_tail(self._tools.link, self.job.attempt)
        self._log.open(tail, SegmentUpload(uploader), self._context.event, policy)

    def _open_relay(self, address: str) -> RelayServer:
        """On the port that api.json names already, if there is one."""
        calls = ContainerCalls(self._context)
        relay = RelayServer(address, self._state.relay_port, self._context.secrets.relay_token, calls)
        calls.base = relay.base
        self._relay = relay
        self._save(relay_port=relay.port)
        if not self._context.host_network:
            self._engine.call(lambda: self._tools.runtime.open_relay(self.job.attempt, relay.port))
        return relay

    def _reopen_relay(self) -> None:
        try:
            self._open_relay(self._preparation.network())
        except OSError as error:
            self._log.status(f"The calls of api.json are not served any more: {error.strerror}.")

    def _close_relay(self) -> None:
        if self._relay is not None:
            self._relay.close()
            self._relay = None

    def _phase(self, name: str) -> None:
        self._context.event("phase", {"phase": name, "detail": ""}, f"phase:{name}")

    def _emit_usage(self, samples: list[Any]) -> None:
        self._context.event("usage", {"samples": samples})

    def _save(self, **changes: Any) -> None:
        for name, value in changes.items():
            setattr(self._state, name, value)
        try:
            self._file.save(self._state)
        except OSError as error:
            if error.errno not in FULL:
                raise
            self._tools.reserve.give_up()
            self._file.save(self._state)

    def _close(self) -> None:
        self._preparation.settle()
        self._close_relay()
        self._log.halt()


def _last_words(verdict: Verdict) -> str:
    code = f", exit code {verdict.exit_code}" if verdict.exit_code is not None else ""
    detail = f": {verdict.detail}" if verdict.detail else ""
    return f"Ended: {verdict.outcome} ({verdict.reason}{code}){detail}"[:2000]
