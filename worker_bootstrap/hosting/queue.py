"""The workers' queue as a service: a Redis with TLS, certificates of both sides, its own users and a fence.

/etc/remora-queue holds the authority, certificates, passwords and users; /var/lib/remora-queue what Redis keeps.
The service's user may read its own files only: not the authority's key, not the master's password.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from worker_bootstrap.credential import JoinCredential
from worker_bootstrap.host.errors import HostError
from worker_bootstrap.hosting.authority import Authority, is_for
from worker_bootstrap.hosting.files import ensure_user, folder, kept_secret, remove, run, start, write_private
from worker_bootstrap.hosting.texts import bind, fence, redis_config, unit
from worker_bootstrap.protocol import names
from worker_bootstrap.protocol.crypto import password_hash

UNIT, USER = "remora-queue.service", "remora-queue"
OLDEST_REDIS = 7
_GROUP = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")


@dataclass(frozen=True)
class QueueRequest:
    """`address`: the name that workers and master use; `allowed`: networks (CIDR) that may come in; memory in bytes."""

    name: str
    address: str
    port: int
    allowed: list[str] = field(default_factory=list)
    memory: int = 1_000_000_000


class QueueHost:
    """The queue on this machine; everything may be done twice."""

    def __init__(
        self,
        settings: Path = Path("/etc/remora-queue"),
        state: Path = Path("/var/lib/remora-queue"),
        programs: Path = Path("/opt/remora-queue"),
    ) -> None:
        self._settings = settings
        self._state = state
        self._programs = programs

    def install(self, wanted: QueueRequest) -> bool:
        """Make what is missing and let it run; False when all stood already. Raises HostError, OSError."""
        program = shutil.which("redis-server") or ""
        _check_version(program)
        ensure_user(USER, self._state)
        folder(self._settings, 0o755)
        folder(self._state, 0o700, USER)
        authority = Authority(self._settings, f"Remora installation {wanted.name}")
        changed = self._server(authority, wanted.address)
        changed = self._users() or changed
        text = redis_config(self._settings, self._state, wanted.port, bind(wanted.address), wanted.memory)
        changed = write_private(self._settings / "redis.conf", text, 0o600, USER) or changed
        is_fenced = not write_private(self._fence, fence(wanted.port, wanted.allowed), 0o700)
        changed = start(UNIT, unit(USER, program, self._settings, self._state, self._fence), changed)
        if not is_fenced and not changed:
            run("systemctl", "reload", UNIT)
        return changed or not is_fenced

    def credential(self, group: str, address: str, port: int, machine: str, release_keys: Sequence[str]) -> str:
        """The join credential of a machine, with a certificate of its own: one line, a secret.

        Raises HostError, OSError.
        """
        shown = self._authority().client(f"machine {machine}")
        return JoinCredential(
            queue_url=f"rediss://{address}:{port}/0",
            group=group,
            join_password=self._secret("password-join"),
            join_secret=self.join_secret(group),
            release_keys=list(release_keys),
            ca=self._authority().pem,
            certificate=shown.certificate,
            key=shown.key,
        ).encode()

    def join_secret(self, group: str) -> str:
        """What machines of a group show when they ask to join. Raises HostError, OSError."""
        if not _GROUP.fullmatch(group):
            raise HostError(f"{group!r} is no name of a worker group")
        return self._secret(f"group-{group}")

    def handover(self, groups: Sequence[str]) -> dict[str, str]:
        """File name to text of everything that the master needs. Raises HostError, OSError."""
        certificate, key = self._settings / "master.pem", self._settings / "master.key"
        authority = self._authority()
        if not key.exists():
            made = authority.client("master")
            write_private(certificate, made.certificate)
            write_private(key, made.key)
        files = {"ca.pem": authority.pem, "master.pem": certificate.read_text(), "master.key": key.read_text()}
        secrets = {f"group-{group}": self.join_secret(group) for group in groups}
        return {**files, "queue-password": self._secret("password-master"), **secrets}

    def sign(self, request: str, names: Sequence[str]) -> dict[str, str]:
        """`certificate` for another server of the installation, and `ca`. Raises HostError, ProtocolError."""
        authority = self._authority()
        return {"certificate": authority.sign(request, names), "ca": authority.pem}

    def uninstall(self) -> None:
        """Nothing of it stays. Raises HostError, OSError."""
        remove(UNIT, USER, (self._settings, self._state, self._programs))

    @property
    def _fence(self) -> Path:
        return folder(self._programs, 0o755) / "fence"

    def _authority(self) -> Authority:
        if not (self._settings / "ca.key").exists():
            raise HostError(f"there is no queue on this machine: {self._settings}/ca.key is missing")
        return Authority(self._settings, "")

    def _secret(self, name: str) -> str:
        return kept_secret(self._settings / name)

    def _server(self, authority: Authority, address: str) -> bool:
        write_private(self._settings / "ca.pem", authority.pem, 0o644)
        if is_for(self._settings / "server.pem", [address]):
            return False
        made = authority.server([address])
        write_private(self._settings / "server.key", made.key, 0o600, USER)
        write_private(self._settings / "server.pem", made.certificate, 0o644)
        return True

    def _users(self) -> bool:
        master, join = (password_hash(self._secret(f"password-{name}")) for name in ("master", "join"))
        lines = [
            "user default reset off",
            f"user {names.MASTER_USER} {' '.join(names.master_acl(master))}",
            f"user {names.JOIN_USER} {' '.join(names.join_acl(join))}",
        ]
        return write_private(self._settings / "users.acl", "\n".join(lines) + "\n", 0o600, USER)


def _check_version(program: str) -> None:
    if not program:
        raise HostError("redis-server is not installed: apt-get install redis-server")
    said = run(program, "--version")
    found = re.search(r"v=(\d+)", said)
    if found is None or int(found.group(1)) < OLDEST_REDIS:
        raise HostError(f"Redis {OLDEST_REDIS} or newer is needed, here is: {said.strip()}")
