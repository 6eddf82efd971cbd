"""A real Redis for tests: free loopback port, users by ACL file, `default` off; can be killed and started again."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from pathlib import Path

import redis

from worker_bootstrap.protocol import crypto, names

MASTER_PASSWORD = "master-password-of-the-test"
JOIN_PASSWORD = "join-password-of-the-test"


def free_port() -> int:
    """A loopback port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class QueueServer:
    """Starts without anything on disk but its users: a restart forgets streams and workers' users."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)
        join = " ".join(rule for rule in names.join_acl(crypto.password_hash(JOIN_PASSWORD)) if rule != "reset")
        users = [
            "user default off",
            f"user {names.MASTER_USER} on #{crypto.password_hash(MASTER_PASSWORD)} ~* &* +@all",
            f"user {names.JOIN_USER} {join}",
        ]
        (folder / "users.acl").write_text("\n".join(users) + "\n")

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    def client(self) -> redis.Redis:
        """As the master."""
        return redis.Redis.from_url(self.url, username=names.MASTER_USER, password=MASTER_PASSWORD, socket_timeout=10)

    def start(self) -> None:
        program = shutil.which("redis-server")
        assert program, "redis-server is missing"
        command = [program, "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        command += ["--aclfile", str(self._folder / "users.acl"), "--dir", str(self._folder), "--loglevel", "warning"]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 10
        while True:
            try:
                self.client().ping()
                return
            except redis.ConnectionError:
                assert time.monotonic() < deadline, "redis-server does not start"
                time.sleep(0.02)

    def kill(self) -> None:
        """SIGKILL."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
