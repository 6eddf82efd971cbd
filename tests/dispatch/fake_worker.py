"""A scripted worker that speaks the protocol: joins, beats, takes grants, says what it is told to say."""

from __future__ import annotations

import itertools
import os
import time
from dataclasses import asdict, replace
from typing import Any

import redis

from controlplane.db.ids import uuid7
from worker_bootstrap.protocol import codec, crypto, names, typed
from worker_bootstrap.protocol.messages import (
    Accepted,
    Ack,
    Beat,
    End,
    Envelope,
    Event,
    Hello,
    JoinReply,
    JoinRequest,
    Relay,
    UrlItem,
    Urls,
)

TIME = "2026-03-01T12:00:00.000001"


def flat(found: Any) -> list[tuple[str, dict[bytes, bytes]]]:
    """Entries of an XREAD answer about one stream."""
    return [(entry_id.decode(), fields) for _, rows in found or [] for entry_id, fields in rows]


class FakeWorker:
    """One machine. Nothing happens by itself: a test says what it does and when."""

    def __init__(self, url: str, join_password: str, group: str = "here", join_secret: str = "j" * 32) -> None:
        self._url = url
        self._join_password = join_password
        self.group = group
        self.join_secret = join_secret
        self.machine = uuid7()
        self.signing = crypto.SigningKey.generate()
        self.seal = crypto.SealKey.generate()
        self.slots = 2
        self.name = f"fake-{self.machine[-4:]}"
        self.seq = 0
        self.acked = 0
        self.inbox: list[Envelope] = []
        self.position = "0-0"
        self.reply = JoinReply()
        self.redis: Any = None

    # ---- joining
    def client(self, user: str, password: str) -> Any:
        return redis.Redis.from_url(
            self._url, username=user, password=password, protocol=2, socket_timeout=10, socket_connect_timeout=5
        )

    def request(self, **changes: Any) -> JoinRequest:
        made = JoinRequest(
            machine=self.machine,
            group=self.group,
            name=self.name,
            signing_key=crypto.b64(self.signing.public),
            seal_key=crypto.b64(self.seal.public),
            nonce=os.urandom(16).hex(),
            proof="",
            facts={"cpus": 2},
            slots=self.slots,
            version="0.1.0",
        )
        made = replace(made, **changes)
        return made if made.proof else replace(made, proof=codec.join_proof(self.join_secret, made))

    def send_join(self, request: JoinRequest, key: crypto.SigningKey | None = None) -> None:
        raw = typed.dumps(request)
        joiner = self.client("join", self._join_password)
        joiner.xadd(names.JOIN_STREAM, {"request": raw, "signature": (key or self.signing).sign(raw)})

    def wait_reply(self, request: JoinRequest, timeout: float = 5.0) -> JoinReply | None:
        joiner = self.client("join", self._join_password)
        until, position = time.monotonic() + timeout, "0-0"
        while time.monotonic() < until:
            for entry_id, fields in flat(joiner.xread({names.joined_key(request.machine): position}, block=200)):
                position = entry_id
                try:
                    raw = self.seal.open(fields[b"reply"], request.nonce.encode())
                except ValueError:
                    continue
                return typed.load(JoinReply, typed.parse(raw, 1 << 20, 24))
        return None

    def join(self, **changes: Any) -> JoinReply:
        request = self.request(**changes)
        self.send_join(request)
        reply = self.wait_reply(request)
        assert reply is not None, "no answer to the request to join"
        if not reply.error:
            self.use(reply)
        return reply

    def use(self, reply: JoinReply) -> None:
        self.reply = reply
        self.redis = self.client(reply.queue_user, reply.queue_password)

    @property
    def id(self) -> str:
        return self.reply.worker

    # ---- speaking
    def envelope(self, kind: str, body: Any, attempt: str = "", seq: int = 0, **changes: Any) -> Envelope:
        made = Envelope(
            id=uuid7(),
            kind=kind,
            installation=self.reply.installation,
            worker=self.id,
            sent=time.time(),
            body=body if isinstance(body, dict) else asdict(body),
            attempt=attempt,
            seq=seq,
        )
        return replace(made, **changes)

    def send(self, *messages: Envelope, key: crypto.SigningKey | None = None) -> None:
        self.redis.xadd(names.outbox(self.id), codec.encode(key or self.signing, list(messages)))

    def next(self, kind: str, attempt: str, body: Any) -> Envelope:
        """A sequenced message, numbered but not sent."""
        self.seq += 1
        return self.envelope(kind, body, attempt, self.seq)

    def say(self, kind: str, attempt: str, body: Any) -> Envelope:
        message = self.next(kind, attempt, body)
        self.send(message)
        return message

    def hello(self, *attempts: str) -> None:
        self.send(self.envelope("hello", Hello("0.1.0", self.slots, list(attempts), {"cpus": 2})))

    def beat(self, *attempts: str, free: int | None = None, draining: bool = False, seq: int | None = None) -> None:
        left = self.slots - len(attempts) if free is None else free
        said = Beat(left, list(attempts), self.position, draining, 10**9, self.seq if seq is None else seq)
        self.send(self.envelope("beat", said))

    def accept(self, attempt: str) -> None:
        self.say("accepted", attempt, Accepted())

    def event(self, attempt: str, kind: str, **data: Any) -> None:
        self.say("event", attempt, Event(kind, TIME, data))

    def end(self, attempt: str, outcome: str = "complete", reason: str = "done", code: int | None = 0) -> None:
        self.say("end", attempt, End(outcome, reason, TIME, code, lines=0))

    def ask_urls(self, attempt: str, *items: UrlItem) -> Urls:
        request = uuid7()
        self.send(self.envelope("urls", Urls(request, list(items)), attempt))
        return codec.body(Urls, self.wait("urls", lambda m: m.body["request"] == request))

    def relay(self, attempt: str, call: str, body: str = "", **query: list[str]) -> Relay:
        request = uuid7()
        self.send(self.envelope("relay", Relay(request, call, query, body), attempt))
        return codec.body(Relay, self.wait("relay", lambda m: m.body["request"] == request))

    # ---- listening
    def listen(self, block: float = 0.2) -> list[Envelope]:
        """New messages of the inbox, checked with the master's keys."""
        keys = {crypto.key_id(crypto.unb64(key)): crypto.unb64(key) for key in self.reply.master_keys}
        found: list[Envelope] = []
        stream = {names.inbox(self.id): self.position}
        for entry_id, fields in flat(self.redis.xread(stream, block=max(1, int(block * 1000)))):
            self.position = entry_id
            found.extend(codec.decode(keys, fields, direction="down"))
        for message in found:
            if message.kind == "ack":
                self.acked = max(self.acked, codec.body(Ack, message).seq)
        self.inbox.extend(found)
        return found

    def wait(self, kind: str, wanted: Any = lambda message: True, timeout: float = 8.0) -> Envelope:
        """The next unread message of this kind; it is taken out of the inbox."""
        until = time.monotonic() + timeout
        for _ in itertools.count():
            for message in self.inbox:
                if message.kind == kind and wanted(message):
                    self.inbox.remove(message)
                    return message
            assert time.monotonic() < until, f"no {kind} came; got {[m.kind for m in self.inbox]}"
            self.listen()
        raise AssertionError

    def wait_ack(self, seq: int | None = None, timeout: float = 8.0) -> None:
        wanted, until = self.seq if seq is None else seq, time.monotonic() + timeout
        while self.acked < wanted:
            assert time.monotonic() < until, f"acked {self.acked}, wanted {wanted}"
            self.listen()

    def nothing(self, kind: str, during: float = 0.6) -> None:
        """Assert that no such message comes."""
        until = time.monotonic() + during
        while time.monotonic() < until:
            self.listen(0.1)
        assert not [message for message in self.inbox if message.kind == kind]
