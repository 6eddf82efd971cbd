"""Chores and the workers' queue share a server in the embedded form, and nothing else. Tried with real connections."""

from __future__ import annotations

from typing import Any

import pytest
import redis

from chores.rig import ChoreRig
from dispatch.rig import PASSWORDS, RedisServer
from worker_bootstrap.protocol import names
from worker_bootstrap.protocol.crypto import password_hash

pytestmark = pytest.mark.needs("redis")

WORKER = "01900000-0000-7000-8000-000000000001"
WIRE = [names.JOIN_STREAM, names.joined_key("m"), names.inbox(WORKER), names.outbox(WORKER), names.tail(WORKER, "a")]
RQ = ["rq:queue:chores", "rq:job:1", "rq:workers", "rq:anything"]


def _client(server: RedisServer, user: str) -> Any:
    return redis.Redis.from_url(server.url(user) if user in PASSWORDS else server.address, protocol=2)


@pytest.mark.parametrize("key", WIRE)
def test_chores_reach_no_key_of_the_wire(redis_server: RedisServer, key: str) -> None:
    redis_server.admin().xadd(key, {"m": "1"})
    chores = _client(redis_server, "chores")
    attempts: list[tuple[Any, ...]] = [
        ("XADD", key, "*", "m", "2"),
        ("XRANGE", key, "-", "+"),
        ("XREAD", "STREAMS", key, "0"),
        ("DEL", key),
        ("EXISTS", key),
        ("SET", key, "x"),
        ("RPUSH", key, "x"),
        ("EVAL", "return redis.call('XLEN', KEYS[1])", 1, key),
        ("EVAL", f"return redis.call('DEL', '{key}')", 0),
        ("LMOVE", "rq:queue:chores", key, "LEFT", "LEFT"),
        ("RENAME", key, "rq:stolen"),
        ("COPY", key, "rq:stolen"),
    ]
    for attempt in attempts:
        with pytest.raises(redis.ResponseError, match="(?i)no permission|can't access|NOPERM"):
            chores.execute_command(*attempt)
    assert redis_server.admin().xlen(key) == 1


def test_chores_have_no_command_over_the_server(redis_server: RedisServer) -> None:
    chores = _client(redis_server, "chores")
    for attempt in (
        ("FLUSHALL",),
        ("FLUSHDB",),
        ("KEYS", "*"),
        ("SCAN", "0"),
        ("RANDOMKEY",),
        ("ACL", "LIST"),
        ("CONFIG", "GET", "*"),
        ("CLIENT", "LIST"),
        ("CLIENT", "KILL", "TYPE", "normal"),
        ("MONITOR",),
        ("FUNCTION", "LIST"),
        ("SUBSCRIBE", "rq:pubsub:x"),
        ("SWAPDB", "0", "1"),
        ("SHUTDOWN",),
    ):
        with pytest.raises(redis.ResponseError, match="(?i)no permission|NOPERM"):
            chores.execute_command(*attempt)


@pytest.mark.parametrize("user", ["master", "join", "worker"])
@pytest.mark.parametrize("key", RQ)
def test_users_of_the_wire_reach_no_key_of_the_chores(redis_server: RedisServer, user: str, key: str) -> None:
    admin = redis_server.admin()
    admin.execute_command(
        "ACL", "SETUSER", names.worker_user(WORKER), *names.worker_acl(WORKER, password_hash("worker-" + "p" * 24))
    )
    admin.set(key, "kept")
    if user == "worker":
        url = redis_server.address.replace("//", f"//{names.worker_user(WORKER)}:worker-{'p' * 24}@")
        client: Any = redis.Redis.from_url(url, protocol=2)
    else:
        client = _client(redis_server, user)
    client.ping()
    for attempt in (
        ("GET", key),
        ("SET", key, "x"),
        ("RPUSH", key, "x"),
        ("XADD", key, "*", "m", "1"),
        ("XREAD", "STREAMS", key, "0"),
        ("DEL", key),
        ("EVAL", f"return redis.call('GET', '{key}')", 0),
    ):
        with pytest.raises(redis.ResponseError, match="(?i)no permission|can't access|NOPERM"):
            client.execute_command(*attempt)
    assert admin.get(key) == b"kept"


def test_nobody_comes_in_without_a_name(redis_server: RedisServer) -> None:
    with pytest.raises(redis.AuthenticationError):
        _client(redis_server, "").ping()


def test_chores_need_no_more_than_they_may(rig: ChoreRig) -> None:
    rig.server.admin().execute_command("ACL", "LOG", "RESET")
    rig.start_relay()
    process = rig.start_process()
    rig.let_go()
    assert rig.ended(rig.ask_here("waits")).state == "done"
    assert rig.ended(rig.ask_here("fails", times=1)).state == "done"
    process.terminate()
    assert process.wait(20) == 0
    assert rig.server.admin().execute_command("ACL", "LOG") == []
    kept = {key.decode().split(":")[0] for key in rig.server.admin().keys("*")}
    assert kept <= {"rq"}
