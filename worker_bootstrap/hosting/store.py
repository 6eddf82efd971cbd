"""An object store of the installation's own as a service: versitygw on a folder, with TLS by the queue's authority."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from worker_bootstrap.host.errors import HostError
from worker_bootstrap.hosting.authority import request_for
from worker_bootstrap.hosting.files import ensure_user, folder, kept_secret, remove, start, write_private
from worker_bootstrap.hosting.texts import store_unit

UNIT, USER = "remora-store.service", "remora-store"
_BUCKET = re.compile(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]")


@dataclass(frozen=True)
class StoreRequest:
    """`path`: the folder of the bytes; `certificate`, `ca`: PEM texts that the queue's machine made.

    `origin`: the dashboard's, whose pages may fetch and send objects.
    """

    address: str
    port: int
    path: str
    certificate: str
    ca: str
    buckets: list[str] = field(default_factory=list)
    origin: str = ""


class StoreHost:
    """The store on this machine; everything may be done twice."""

    def __init__(self, settings: Path = Path("/etc/remora-store"), programs: Path = Path("/opt/remora-store")) -> None:
        self._settings = settings
        self._programs = programs

    def certificate_request(self, address: str) -> str:
        """A request (PEM) for the store's certificate; its key is made here and stays. Raises OSError."""
        ensure_user(USER, self._programs)
        folder(self._settings, 0o755)
        return request_for(self._settings / "server.key", address)

    def install(self, wanted: StoreRequest) -> bool:
        """Make what is missing and let it run; False when all stood already. Raises HostError, OSError."""
        program = self._programs / "versitygw"
        if not program.is_file():
            raise HostError(f"{program} is missing: the installer puts it there")
        ensure_user(USER, self._programs)
        folder(self._settings, 0o755)
        changed = self._certificates(wanted)
        access, secret = self.credentials().split()
        environment = {
            "ROOT_ACCESS_KEY": access,
            "ROOT_SECRET_KEY": secret,
            "VGW_PORT": f":{wanted.port}",
            "VGW_CERT": f"{self._settings}/server.pem",
            "VGW_KEY": f"{self._settings}/server.key",
            "VGW_REGION": "us-east-1",
        }
        if wanted.origin:
            environment["VGW_CORS_ALLOW_ORIGIN"] = wanted.origin
        text = "".join(f"{name}={value}\n" for name, value in environment.items())
        changed = write_private(self._settings / "environment", text, 0o600) or changed
        data = folder(Path(wanted.path), 0o700, USER)
        for place in ("attributes", "buckets"):
            folder(data / place, 0o700, USER)
        for bucket in wanted.buckets:
            if not _BUCKET.fullmatch(bucket):
                raise HostError(f"{bucket!r} is no name of a bucket")
            folder(data / "buckets" / bucket, 0o700, USER)
        return start(UNIT, store_unit(USER, program, self._settings, data), changed)

    def credentials(self) -> str:
        """Two lines: access key and secret, made here at the first call. Raises OSError."""
        folder(self._settings, 0o755)
        return f"remora\n{kept_secret(self._settings / 'secret')}\n"

    def uninstall(self) -> None:
        """Nothing of the service stays; the bytes do. Raises HostError, OSError."""
        remove(UNIT, USER, (self._settings, self._programs))

    def _certificates(self, wanted: StoreRequest) -> bool:
        key = self._settings / "server.key"
        write_private(key, key.read_text(), 0o600, USER)
        write_private(self._settings / "ca.pem", wanted.ca, 0o644)
        return write_private(self._settings / "server.pem", wanted.certificate, 0o644)
