"""The master's side of the wire, as plain as can be: signs grants, applies messages once and in order, answers."""

from __future__ import annotations

import hashlib
import json
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import quote

import redis

from worker.queue_server import QueueServer
from worker.store_server import StoreServer
from worker_bootstrap.agent.queue import entries_of
from worker_bootstrap.protocol import codec, crypto, names, typed
from worker_bootstrap.protocol.errors import ProtocolError
from worker_bootstrap.protocol.job import Job
from worker_bootstrap.protocol.messages import (
    SEQUENCED,
    Accepted,
    Ack,
    Beat,
    End,
    Envelope,
    Event,
    JoinReply,
    JoinRequest,
    Relay,
    Stop,
    UrlItem,
    Urls,
    login_context,
)

JOIN_SECRET = "join-secret-of-the-test"
INSTALLATION = "installation-of-the-test"
FINAL_WAIT = 60.0


@dataclass
class Record:
    """What the master has committed about one attempt."""

    job: Job
    accepted: list[Accepted] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    ends: list[End] = field(default_factory=list)

    def data(self, kind: str) -> list[dict[str, Any]]:
        return [event.data for event in self.events if event.kind == kind]

    @property
    def outputs(self) -> dict[str, dict[str, Any]]:
        return {data["name"]: data for data in self.data("output")}

    @property
    def phases(self) -> list[str]:
        return [data["phase"] for data in self.data("phase")]


class FakeMaster:
    """One group, any number of workers. `own_files` maps an input's file id to its address."""

    def __init__(self, queue: QueueServer, store: StoreServer) -> None:
        self.queue = queue
        self.store = store
        self.key = crypto.SigningKey.generate()
        self.workers: dict[str, JoinRequest] = {}
        self.records: dict[str, Record] = {}
        self.beats: list[tuple[float, str, Beat]] = []
        self.hellos: list[str] = []
        self.relays: list[Relay] = []
        self.last_seq: dict[str, int] = {}
        self.errors: dict[str, str] = {}
        self.of_users: set[str] = set()
        self.addresses: dict[str, str] = {}
        self.logins: dict[str, tuple[str, str]] = {}
        self.login_errors: list[str] = []
        self.commits = True
        self.part_bytes = 0
        self.join_answers = True
        self.join_error = ""
        self.relay_answer: Callable[[Relay], tuple[int, str]] = lambda _: (200, "{}")
        self._passwords: dict[str, str] = {}
        self._positions: dict[str, str] = {names.JOIN_STREAM: "0-0"}
        self._stop = threading.Event()
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        self._thread.join(10)

    # ---- what tests do ------------------------------------------------------------------------------
    @property
    def worker(self) -> str:
        """The one worker's id, once it has joined."""
        self.wait(lambda: bool(self.workers), "a worker", 30)
        return next(iter(self.workers))

    def wait(self, wanted: Callable[[], Any], what: str, timeout: float = FINAL_WAIT) -> Any:
        """The first true result."""
        deadline = time.monotonic() + timeout
        with self._changed:
            while not (result := wanted()):
                assert time.monotonic() < deadline, f"waited {timeout} s in vain for {what}"
                self._changed.wait(0.05)
        return result

    def send(self, worker: str, kind: str, body: Any, attempt: str = "", key: crypto.SigningKey | None = None) -> None:
        """One message, signed by the master's key or another one."""
        decoded = body if isinstance(body, dict) else typed.dump(body)
        message = Envelope(str(uuid.uuid4()), kind, INSTALLATION, worker, time.time(), decoded, attempt)
        self.queue.client().xadd(names.inbox(worker), codec.encode(key or self.key, [message]))

    def grant(self, job: Job) -> Record:
        """Send the job; returns its record."""
        record = self.records.setdefault(job.attempt, Record(job))
        self.send(job.worker, "grant", job, job.attempt)
        return record

    def stop(self, record: Record, reason: str = "stopped_by_user", *, kill: bool = False) -> None:
        self.send(record.job.worker, "stop", Stop(reason, kill=kill), record.job.attempt)

    def ended(self, record: Record, timeout: float = FINAL_WAIT) -> End:
        """The end of the attempt, once it is committed."""
        self.wait(lambda: record.ends, f"the end of {record.job.title}; phases {record.phases}", timeout)
        return record.ends[0]

    def seal(self, worker: str, attempt: str, secrets: dict[str, Any]) -> str:
        public = crypto.unb64(self.workers[worker].seal_key)
        return crypto.b64(crypto.seal(public, json.dumps(secrets).encode(), attempt.encode()))

    def wait_line(self, record: Record, text: str) -> None:
        """Until the live tail has a line with this text."""
        self.wait(lambda: any(text in line[3] for line in self.tail(record)), f"the line {text!r}")

    def wait_phase(self, record: Record, phase: str) -> None:
        """Until the attempt has told that it is there."""
        self.wait(lambda: phase in record.phases, f"the phase {phase}")

    def tail(self, record: Record) -> list[list[Any]]:
        """Lines of the live tail whose signature is the worker's."""
        worker = record.job.worker
        keys = self._keys(worker)
        lines: list[list[Any]] = []
        for _, fields in self.queue.client().xrange(names.tail(worker, record.job.attempt)):
            lines.extend(codec.decode_lines(codec.open_entry(keys, fields)))
        return lines

    # ---- the loop -----------------------------------------------------------------------------------
    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._pass()
            except (redis.RedisError, OSError):
                self._positions = {names.JOIN_STREAM: "0-0"}
                self._stop.wait(0.1)

    def _pass(self) -> None:
        client = self.queue.client()
        known = {user.decode() if isinstance(user, bytes) else user for user in client.acl_users()}
        for worker, password in list(self._passwords.items()):
            if names.worker_user(worker) not in known:
                self._set_user(client, worker, password)
            self._positions.setdefault(names.outbox(worker), "0-0")
        for stream in list(self._positions):
            for entry_id, fields in entries_of(client.xread({stream: self._positions[stream]}, count=50)):
                if stream == names.JOIN_STREAM:
                    self._join(client, fields)
                elif self.commits:
                    self._worker_said(client, stream.removeprefix("out:"), fields)
                else:
                    continue
                self._positions[stream] = entry_id
        self._stop.wait(0.01)

    def _join(self, client: Any, fields: dict[bytes, bytes]) -> None:
        raw = fields[b"request"]
        request = typed.load(JoinRequest, json.loads(raw))
        crypto.verify(crypto.unb64(request.signing_key), fields[b"signature"], raw)
        if codec.join_proof(JOIN_SECRET, request) != request.proof or not self.join_answers:
            return
        worker = next((w for w, r in self.workers.items() if r.signing_key == request.signing_key), str(uuid.uuid4()))
        password = uuid.uuid4().hex
        self._set_user(client, worker, password)
        reply = JoinReply(
            worker=worker,
            installation=INSTALLATION,
            queue_user=names.worker_user(worker),
            queue_password=password,
            master_keys=[crypto.b64(self.key.public)],
            error=self.join_error,
        )
        sealed = crypto.seal(crypto.unb64(request.seal_key), typed.dumps(reply), request.nonce.encode())
        client.xadd(names.joined_key(request.machine), {"reply": sealed})
        with self._changed:
            self._passwords[worker], self.workers[worker] = password, request
            self._changed.notify_all()

    @staticmethod
    def _set_user(client: Any, worker: str, password: str) -> None:
        rules = names.worker_acl(worker, crypto.password_hash(password))
        client.execute_command("ACL", "SETUSER", names.worker_user(worker), *rules)

    def drop_user(self, worker: str) -> None:
        """Forget a worker's login until it joins again."""
        self._passwords.pop(worker, None)
        self.queue.client().acl_deluser(names.worker_user(worker))

    def _keys(self, worker: str) -> dict[str, bytes]:
        public = crypto.unb64(self.workers[worker].signing_key)
        return {crypto.key_id(public): public}

    def _worker_said(self, client: Any, worker: str, fields: dict[bytes, bytes]) -> None:
        messages = codec.decode(self._keys(worker), fields, direction="up")
        answers: list[Envelope] = []
        with self._changed:
            for message in messages:
                answers.extend(self._apply(worker, message))
            self._changed.notify_all()
        answers.append(self._envelope(worker, "ack", Ack(self.last_seq.get(worker, 0))))
        client.xadd(names.inbox(worker), codec.encode(self.key, answers))

    def _apply(self, worker: str, message: Envelope) -> list[Envelope]:
        assert message.worker == worker and message.installation == INSTALLATION
        if message.kind in SEQUENCED:
            if message.seq != self.last_seq.get(worker, 0) + 1:
                return []
            self.last_seq[worker] = message.seq
        record = self.records.get(message.attempt)
        if message.kind == "hello":
            self.hellos.append(worker)
        elif message.kind == "beat":
            self.beats.append((time.monotonic(), worker, codec.body(Beat, message)))
        elif message.kind == "urls":
            return [self._urls(worker, message)]
        elif message.kind == "relay":
            call = codec.body(Relay, message)
            self.relays.append(call)
            status, body = self.relay_answer(call)
            return [self._envelope(worker, "relay", Relay(call.request, status=status, body=body), message.attempt)]
        elif record is None:
            raise ProtocolError(f"{message.kind} of an attempt that was not granted")
        elif message.kind == "accepted":
            record.accepted.append(codec.body(Accepted, message))
        elif message.kind == "event":
            record.events.append(codec.body(Event, message))
        elif message.kind == "end":
            record.ends.append(codec.body(End, message))
        return []

    def _urls(self, worker: str, message: Envelope) -> Envelope:
        request = codec.body(Urls, message)
        items = [
            self._login(worker, message.attempt, item) if item.purpose == "image" else self._item(message.attempt, item)
            for item in request.items
        ]
        return self._envelope(worker, "urls", Urls(request.request, items), message.attempt)

    def _login(self, worker: str, attempt: str, item: UrlItem) -> UrlItem:
        """The credential of an image for the organisation of this attempt; errors are said first, each once."""
        if self.login_errors:
            return UrlItem(item.id, item.purpose, item.name, error=self.login_errors.pop(0))
        username, password = self.logins.get(self.records[attempt].job.organization, ("", ""))
        if not username:
            return UrlItem(item.id, item.purpose, item.name)
        raw = json.dumps({"username": username, "password": password}).encode()
        public = crypto.unb64(self.workers[worker].seal_key)
        sealed = crypto.b64(crypto.seal(public, raw, login_context(attempt, item.name)))
        return UrlItem(item.id, item.purpose, item.name, sealed=sealed)

    def _item(self, attempt: str, item: UrlItem) -> UrlItem:
        return replace(self._signed(attempt, item), by_user=item.name in self.of_users)

    def _signed(self, attempt: str, item: UrlItem) -> UrlItem:
        error = self.errors.get(f"{item.purpose}:{item.name}") or self.errors.get(item.purpose, "")
        if error:
            return UrlItem(item.id, item.purpose, item.name, error=error)
        if item.purpose == "input":
            return UrlItem(item.id, item.purpose, item.name, method="GET", url=self.addresses[item.name])
        if item.purpose == "code":
            return UrlItem(item.id, item.purpose, item.name, method="GET", url=self.store.address(f"code/{item.name}"))
        key = f"{item.purpose}/{attempt}/{item.name}"
        if item.purpose == "complete":
            return self._join_parts(attempt, item)
        if item.purpose == "part":
            address = self.store.address(f"{quote(item.upload)}/{item.part:05d}")
            return UrlItem(item.id, item.purpose, item.name, item.size, "PUT", address)
        if item.purpose == "output" and 0 < self.part_bytes < item.size:
            upload = f"parts/{uuid.uuid4()}"
            return UrlItem(item.id, item.purpose, item.name, item.size, upload=upload, part_bytes=self.part_bytes)
        headers = {"If-None-Match": "*"}
        url = self.store.address(quote(key))
        return UrlItem(item.id, item.purpose, item.name, item.size, "PUT", url, headers, key)

    def _join_parts(self, attempt: str, item: UrlItem) -> UrlItem:
        names = sorted(name for name in self.store.objects if name.startswith(f"{item.upload}/"))
        parts = [self.store.objects.pop(name) for name in names]
        assert item.marks == [hashlib.md5(part).hexdigest() for part in parts]
        key = f"output/{attempt}/{item.name}"
        self.store.objects[key] = b"".join(parts)
        return UrlItem(item.id, item.purpose, item.name, item.size, key=key)

    @staticmethod
    def _envelope(worker: str, kind: str, body: Any, attempt: str = "") -> Envelope:
        return Envelope(str(uuid.uuid4()), kind, INSTALLATION, worker, time.time(), typed.dump(body), attempt)
