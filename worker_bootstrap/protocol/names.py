"""Keys of the queue's Redis and the users that may touch them."""

from __future__ import annotations

JOIN_STREAM = "join"
MASTER_USER = "master"
JOIN_USER = "join"


def joined_key(machine: str) -> str:
    """List that holds the sealed reply to a machine's request to join."""
    return f"joined:{machine}"


def inbox(worker: str) -> str:
    """Stream from the master to one worker."""
    return f"in:{worker}"


def outbox(worker: str) -> str:
    """Stream from one worker to the master."""
    return f"out:{worker}"


def tail(worker: str, attempt: str) -> str:
    """Stream of an attempt's newest log lines."""
    return f"tail:{worker}:{attempt}"


def worker_user(worker: str) -> str:
    """Redis user of one worker."""
    return f"worker-{worker}"


_CALLS = ["+xadd", "+xread", "+ping", "+hello", "+auth"]


def master_acl(password_hash: str) -> list[str]:
    """ACL rules of the master: the wire's keys, and making the users of workers."""
    return [
        "reset", "on", f"#{password_hash}", "resetchannels", "-@all", "+@stream", "+@connection", "-client|kill",
        "+del", "+unlink", "+expire", "+exists", "+multi", "+exec", "+info",
        "+acl|setuser", "+acl|deluser", "+acl|users", "+acl|getuser", "+acl|whoami",
        f"~{JOIN_STREAM}", "~joined:*", "~in:*", "~out:*", "~tail:*",
    ]  # fmt: skip


def join_acl(password_hash: str) -> list[str]:
    """ACL rules of the join user: ask, and read the (sealed) answer. Nothing else."""
    return ["reset", "on", f"#{password_hash}", "resetchannels", "-@all", "%W~join", "%R~joined:*", *_CALLS]


def worker_acl(worker: str, password_hash: str) -> list[str]:
    """ACL rules of one worker: read its inbox, append to its outbox and tails. No scripting, no deleting."""
    keys = [f"%R~{inbox(worker)}", f"%W~{outbox(worker)}", f"%W~tail:{worker}:*"]
    return ["reset", "on", f"#{password_hash}", "resetchannels", "-@all", *keys, *_CALLS]
