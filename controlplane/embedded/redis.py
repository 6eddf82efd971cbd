"""The embedded Redis: configuration and users, with passwords that are made once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from controlplane.embedded.files import kept_secret, private_folder, write_private
from controlplane.embedded.ports import kept_port
from worker_bootstrap.protocol import names
from worker_bootstrap.protocol.crypto import password_hash

CHORES_USER = "chores"
CONFIG = """\
bind 127.0.0.1
port {port}
protected-mode yes
dir "{folder}"
aclfile "{folder}/users.acl"
appendonly yes
appendfsync everysec
save ""
maxmemory {memory}
maxmemory-policy noeviction
daemonize no
logfile ""
"""


@dataclass(frozen=True)
class RedisAccess:
    """Address without login, and the passwords of the three users."""

    url: str
    master: str
    chores: str
    join: str

    def url_of(self, user: str, password: str) -> str:
        """The address with a login in it: for files of mode 0600 only."""
        return self.url.replace("redis://", f"redis://{user}:{password}@", 1)


def chores_acl(hashed: str) -> list[str]:
    """Rules of the chores: RQ's own keys, which it also changes by scripts; commands without a key are left out."""
    return [
        "reset", "on", f"#{hashed}", "resetchannels", "-@all",
        "+@string", "+@hash", "+@list", "+@set", "+@sortedset", "+@stream", "+@transaction", "+@connection",
        "+eval", "+evalsha", "+script|load", "+script|exists",
        "+del", "+unlink", "+exists", "+expire", "+pexpire", "+persist", "+ttl", "+pttl",
        "-@admin", "-@dangerous", "+info", "~rq:*",
    ]  # fmt: skip


def password_file(keys: Path, user: str) -> Path:
    """Where a user's password is kept."""
    return keys / f"redis-{user}.secret"


def prepare_redis(folder: Path, keys: Path, memory: int) -> RedisAccess:
    """Write redis.conf and users.acl: `default` is off. `memory` in bytes. Only while Redis does not run."""
    private_folder(folder)
    port = kept_port(folder / "port")
    master, chores, join = (
        kept_secret(password_file(keys, user)) for user in (names.MASTER_USER, CHORES_USER, names.JOIN_USER)
    )
    users = [
        "user default reset off",
        f"user {names.MASTER_USER} {' '.join(names.master_acl(password_hash(master)))}",
        f"user {CHORES_USER} {' '.join(chores_acl(password_hash(chores)))}",
        f"user {names.JOIN_USER} {' '.join(names.join_acl(password_hash(join)))}",
    ]
    write_private(folder / "users.acl", "\n".join(users) + "\n")
    write_private(folder / "redis.conf", CONFIG.format(port=port, folder=folder, memory=memory))
    return RedisAccess(f"redis://127.0.0.1:{port}/0", master, chores, join)
