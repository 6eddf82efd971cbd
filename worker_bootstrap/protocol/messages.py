"""The messages: an envelope each, and a body by its kind.

To the worker: grant, stop, drain, urls, relay, ack. From it: hello, beat, accepted, event, urls,
relay, end. `seq` numbers what a worker must not lose (accepted, event, end): one counter per worker
that only grows; 0 marks what may be lost because it is said again (hello, beat, urls, relay).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from worker_bootstrap.protocol.errors import ProtocolError

TO_WORKER = frozenset({"grant", "stop", "drain", "urls", "relay", "ack"})
FROM_WORKER = frozenset({"hello", "beat", "accepted", "event", "urls", "relay", "end"})
SEQUENCED = frozenset({"accepted", "event", "end"})


@dataclass(frozen=True)
class Envelope:
    """One message. `attempt` is an attempt's id or empty; `sent` is seconds since the epoch, for people."""

    id: str
    kind: str
    installation: str
    worker: str
    sent: float
    body: dict[str, Any]
    attempt: str = ""
    seq: int = 0
    protocol: int = 1


@dataclass(frozen=True)
class Batch:
    """What one signature covers."""

    messages: list[Envelope]


# ---- joining -------------------------------------------------------------------------------------
@dataclass(frozen=True)
class JoinRequest:
    """On stream `join`, fields `request` (these bytes) and `signature` (by `signing_key`).

    `proof` = hex HMAC-SHA256 with the join secret over machine|group|signing_key|seal_key|nonce.
    """

    machine: str
    group: str
    name: str
    signing_key: str
    seal_key: str
    nonce: str
    proof: str
    facts: dict[str, Any] = field(default_factory=dict)
    slots: int = 1
    version: str = ""
    protocol: int = 1


@dataclass(frozen=True)
class JoinReply:
    """On stream `joined:MACHINE`, field `reply`: sealed to the request's key, context = its nonce.

    `error` set means refused. `master_keys`: base64 Ed25519 keys that sign the inbox (two in a rotation).
    """

    worker: str = ""
    installation: str = ""
    queue_user: str = ""
    queue_password: str = ""
    master_keys: list[str] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)
    error: str = ""


# ---- to the worker -------------------------------------------------------------------------------
@dataclass(frozen=True)
class Stop:
    """Stop the envelope's attempt. `reason` is a code of the registry; `by` a person's name or empty.

    `kill` skips the grace. A stop for an attempt that the worker doesn't know is answered by `end` "unknown".
    """

    reason: str
    by: str = ""
    kill: bool = False


@dataclass(frozen=True)
class Drain:
    """Accept no more; leave when idle."""

    reason: str = ""


@dataclass(frozen=True)
class Ack:
    """The master has committed everything up to `seq`; the agent may forget it."""

    seq: int


@dataclass(frozen=True)
class UrlItem:
    """One wish for a signed URL, or (in the reply) its answer.

    purpose: `code`, `input`, `output`, `log`, `part`, `complete`, `image`. name: for `input` the input file's `id` of
    the job; for `output` the relative name; for `log` the segment's object name (`00000000000000000001.gz`, `….idx`).

    A large output goes in parts where the store wants it: then the answer has no `url`, but `upload` (its name for the
    parts) and `part_bytes`. Each part (`part`, from 1) is asked for with that `upload`, and at the end `complete` gives
    the `marks` (ETags) that the store answered, in order; its answer has the `key`.

    `by_user` in an answer: where the store is, a user said, so the rules for users' addresses count.

    `image` asks for the credential of the job's image, which is its `name`. The answer has it in `sealed`: base64 of a
    JSON object {username, password}, sealed to the worker's key with `login_context`; empty: none fits. Its `error` is
    LOGIN_LATER (ask again soon), or LOGIN_REFUSED or LOGIN_UNREACHABLE, a colon and a sentence.
    """

    id: str
    purpose: str
    name: str
    size: int = 0
    method: str = ""
    url: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    key: str = ""
    error: str = ""
    upload: str = ""
    part_bytes: int = 0
    part: int = 0
    marks: list[str] = field(default_factory=list)
    sealed: str = ""
    by_user: bool = False


LOGIN_LATER = "later"
LOGIN_REFUSED = "login_refused"
LOGIN_UNREACHABLE = "login_unreachable"


def login_context(attempt: str, image: str) -> bytes:
    """What a sealed credential is bound to."""
    return f"{attempt}:image:{image}".encode()


@dataclass(frozen=True)
class Urls:
    """Request and reply carry the same `request` id; unanswered requests are asked again."""

    request: str
    items: list[UrlItem]


@dataclass(frozen=True)
class Relay:
    """A call of `api.json` from inside a container (up: method, path, query, body) or its answer (down)."""

    request: str
    call: str = ""
    query: dict[str, list[str]] = field(default_factory=dict)
    body: str = ""
    status: int = 0


# ---- from the worker -----------------------------------------------------------------------------
@dataclass(frozen=True)
class Hello:
    """First message after start: what this machine is, and what runs on it."""

    version: str
    slots: int
    attempts: list[str]
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Beat:
    """Every ten seconds. `read` is the last inbox id handled: the master trims up to it.

    `seq` is the newest number given to a sequenced message: while the master is behind it, an attempt that is not
    listed may have ended in words that are still under way.
    """

    free: int
    attempts: list[str]
    read: str = ""
    draining: bool = False
    disk_free: int = 0
    seq: int = 0


@dataclass(frozen=True)
class Accepted:
    """The grant arrived and its attempt is on disk. `refused` (a reason code) means it will not run."""

    refused: str = ""
    detail: str = ""


@dataclass(frozen=True)
class Event:
    """Something that happened to the attempt, at `time` (UTC, ISO, microseconds).

    kinds and their data:
    phase {phase: image|inputs|running|uploading, detail}; status {message}; metadata {points: [[time, {…}]], sampled};
    output {name, size, sha256, md5, sha1, key, metadata, live}; segment {first, last, lines, key, size, raw_bytes,
    sha256, counts{stdout,stderr,status}, first_time, last_time}; gap {first, last, reason};
    detail {status_detail}; usage {samples: [[time, {cpu, memory, …}]]}; container {id, image_digest}.
    """

    kind: str
    time: str
    data: dict[str, Any]


@dataclass(frozen=True)
class End:
    """The attempt is over. outcome: complete | error | stopped | failed (infrastructure) | unknown.

    `reason` is a code of the registry; `exit_code` is None when no process ran.
    """

    outcome: str
    reason: str
    time: str
    exit_code: int | None = None
    detail: str = ""
    last_seq: int = 0
    lines: int = 0


BODIES: dict[tuple[str, str], type[Any]] = {
    ("down", "stop"): Stop,
    ("down", "drain"): Drain,
    ("down", "urls"): Urls,
    ("down", "relay"): Relay,
    ("down", "ack"): Ack,
    ("up", "hello"): Hello,
    ("up", "beat"): Beat,
    ("up", "accepted"): Accepted,
    ("up", "event"): Event,
    ("up", "urls"): Urls,
    ("up", "relay"): Relay,
    ("up", "end"): End,
}


def check_kind(envelope: Envelope, *, direction: str) -> None:
    """Raise ProtocolError unless this kind travels in this direction (`up` or `down`)."""
    allowed = FROM_WORKER if direction == "up" else TO_WORKER
    if envelope.kind not in allowed:
        raise ProtocolError(f"kind: {envelope.kind!r} does not travel {direction}")
