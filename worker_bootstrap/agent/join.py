"""Asking the master to take this machine."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import redis

from worker_bootstrap.agent import VERSION
from worker_bootstrap.agent.backoff import Backoff
from worker_bootstrap.agent.config import AgentConfig
from worker_bootstrap.agent.identity import Keys, Membership, facts
from worker_bootstrap.agent.log import logger
from worker_bootstrap.agent.queue import Fields, connect, entries_of, why
from worker_bootstrap.protocol import codec, crypto, names, typed
from worker_bootstrap.protocol.errors import ProtocolError
from worker_bootstrap.protocol.messages import JoinReply, JoinRequest

Halted = Callable[[], bool]


class JoinRefusedError(RuntimeError):
    """The master refused this machine."""


class NoAnswerError(RuntimeError):
    """The master did not answer: it is away, or the request proved nothing to it."""


def make_request(config: AgentConfig, keys: Keys, nonce: str, machine_facts: dict[str, Any]) -> JoinRequest:
    """The request of this machine, proved with the group's join secret."""
    request = JoinRequest(
        machine=keys.machine,
        group=config.group,
        name=config.name,
        signing_key=crypto.b64(keys.signing_key.public),
        seal_key=crypto.b64(keys.seal_key.public),
        nonce=nonce,
        proof="",
        facts=machine_facts,
        slots=config.slots,
        version=VERSION,
    )
    return replace(request, proof=codec.join_proof(config.join_secret, request))


def open_reply(keys: Keys, nonce: str, fields: Fields) -> JoinReply | None:
    """The reply to the request with `nonce`; None when it answers another one."""
    try:
        raw = keys.seal_key.open(fields.get(b"reply", b""), nonce.encode())
        return typed.load(JoinReply, typed.parse(raw, 1 << 20, 16))
    except ProtocolError:
        return None


def join_once(config: AgentConfig, keys: Keys) -> Membership:
    """One request, and its answer within `join_wait`. Raises JoinRefusedError, NoAnswerError, redis.RedisError."""
    nonce = os.urandom(16).hex()
    raw = typed.dumps(make_request(config, keys, nonce, facts()))
    with connect(config, config.join_user, config.join_password) as client:
        client.xadd(names.JOIN_STREAM, {"request": raw, "signature": keys.signing_key.sign(raw)})
        reply = _await_reply(client, keys, nonce, config.join_wait)
    if reply is None:
        raise NoAnswerError(
            f"no answer in {config.join_wait:.0f} s: is the master running, do group {config.group!r} "
            "and join_secret in agent.json belong together?"
        )
    if reply.error:
        raise JoinRefusedError(f"the master refused this machine: {reply.error}")
    if config.installation and reply.installation != config.installation:
        raise JoinRefusedError(f"installation {reply.installation} answered, agent.json names {config.installation}")
    return Membership(
        worker=reply.worker,
        installation=reply.installation,
        queue_user=reply.queue_user,
        queue_password=reply.queue_password,
        master_keys=reply.master_keys,
        settings=reply.settings,
    )


def join(config: AgentConfig, keys: Keys, halted: Halted, sleep: Callable[[float], Any]) -> Membership | None:
    """Ask until there is an answer; None when `halted`. A refusal is logged and asked again, ever more rarely."""
    backoff = Backoff(config.backoff_first, config.backoff_most)
    while not halted():
        try:
            return join_once(config, keys)
        except (JoinRefusedError, NoAnswerError, redis.RedisError) as error:
            logger.warning("not joined yet: %s", why(config, error))
            sleep(backoff.next())
    return None


def _await_reply(client: Any, keys: Keys, nonce: str, wait: float) -> JoinReply | None:
    """From the stream's beginning: the reply may stand there before the first look; older ones don't open."""
    position, deadline = "0-0", time.monotonic() + wait
    stream = names.joined_key(keys.machine)
    while time.monotonic() < deadline:
        for entry_id, fields in entries_of(client.xread({stream: position}, block=500)):
            position = entry_id
            reply = open_reply(keys, nonce, fields)
            if reply is not None:
                return reply
    return None
