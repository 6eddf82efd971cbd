"""From settings to a machine's user data. Pure: the same settings give the same bytes."""

from __future__ import annotations

import base64
import dataclasses
import gzip
import json
import re
from importlib.resources import files

from worker_bootstrap.startup.settings import (
    AwsPlace,
    MasterStartup,
    QueueStartup,
    Startup,
    StartupError,
    WorkerStartup,
)

# AWS's limit; the others allow more.
MOST_BYTES = 16_384
BOOT = "startup/boot"
COMMON = [f"{BOOT}/{name}.py" for name in ("__init__", "aws", "machine", "sigv4", "steps", "surroundings")]
WORKER = [f"{BOOT}/{name}.py" for name in ("worker", "nvidia", "release")]
MASTER = [f"{BOOT}/{name}.py" for name in ("master", "certificates", "release")]
QUEUE = [
    *(f"{BOOT}/{name}.py" for name in ("queue", "certificates", "queue_files")),
    *("credential.py", "protocol/__init__.py", "protocol/errors.py", "protocol/names.py", "protocol/typed.py"),
]
SERVICES = ("s3", "secretsmanager", "ssm")
END = "END-OF-FILE"
_SLUG = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_DOMAIN = re.compile(r"[a-z0-9.-]{1,253}")
_REGION = re.compile(r"[a-z]{2}(-[a-z]+)+-\d")
# Plain http is for the loopback only.
_ENDPOINT = re.compile(r"https://[A-Za-z0-9.-]+(:\d+)?/?|http://(localhost|127\.0\.0\.1)(:\d+)?/?")


@dataclasses.dataclass(frozen=True)
class _Role:
    """What a machine becomes. `done`: the file by which one knows that it became it; `not_yet`: what else is said."""

    kind: str
    what: str
    paths: list[str]
    done: str = ""
    not_yet: str = ""
    seconds: float = 0.0


def _role(settings: Startup) -> _Role:
    if isinstance(settings, QueueStartup):
        return _Role("queue", "the workers' queue", QUEUE)
    if isinstance(settings, MasterStartup):
        done, deadline = "/run/remora-start.done", settings.ready_deadline
        return _Role("master", "a machine of the control plane", MASTER, done, "does not serve the dashboard", deadline)
    what, done = f"a worker of group {settings.group}", "/var/lib/remora-agent/identity/worker.json"
    return _Role("worker", what, WORKER, done, "has not joined", settings.join_deadline)


def user_data(settings: Startup) -> str:
    """The shell script with which cloud-init starts the machine: readable, its Python parts stand in it as they are.

    Raises StartupError for settings that no machine could use.
    """
    _check(settings)
    role = _role(settings)
    values = {
        "DEADLINE": _deadline(role) if role.done else "",
        "SOURCES": "\n".join(map(_source, [*COMMON, *role.paths])),
        "WHAT": role.what,
        "INSTALLATION": settings.installation,
        "KIND": role.kind,
        "SETTINGS": json.dumps(dataclasses.asdict(settings), indent=1, sort_keys=True),
    }
    text = _part("startup/units/start.sh")
    for name, value in values.items():
        text = text.replace(f"@{name}@", value)
    return text


def packed(text: str) -> str:
    """User data as a cloud takes it: base64 of its gzip, which cloud-init opens by itself. Raises StartupError."""
    raw = gzip.compress(text.encode(), 9, mtime=0)
    if len(raw) > MOST_BYTES:
        raise StartupError(
            f"The start-up script has {len(raw)} bytes and a cloud takes {MOST_BYTES}: put the certificate authorities "
            "(advanced.ca_bundle) into the machines' image, or name fewer of them."
        )
    return base64.b64encode(raw).decode()


def _check(settings: Startup) -> None:
    place = settings.place
    if not isinstance(place, AwsPlace):
        raise StartupError(f"There is no start-up script for {place.provider} yet; there is one for aws.")
    if not _REGION.fullmatch(place.region):
        raise StartupError(f"{place.region!r} is no region of AWS, such as eu-west-1.")
    slugs = [settings.group] if isinstance(settings, WorkerStartup) else []
    for slug in (settings.installation, *slugs):
        if not _SLUG.fullmatch(slug):
            raise StartupError(f"{slug!r} is no name: lower-case letters, digits and hyphens are expected.")
    for service, address in place.endpoints.items():
        if service not in SERVICES or not _ENDPOINT.fullmatch(address):
            raise StartupError(
                f"endpoints: {service}: {address}: one of {', '.join(SERVICES)} and an https address are expected."
            )
    if not settings.release_keys:
        raise StartupError("release_keys is empty: no release of the agent could be trusted.")
    if isinstance(settings, WorkerStartup) and settings.join_deadline <= 0:
        raise StartupError("join_deadline: seconds above 0 are expected.")
    if isinstance(settings, QueueStartup):
        _check_queue(settings)
    if isinstance(settings, MasterStartup):
        _check_master(settings)


def _check_queue(settings: QueueStartup) -> None:
    if not settings.hosts:
        raise StartupError("hosts is empty: name the host by which workers reach the queue.")
    if settings.groups_every <= 0:
        raise StartupError("groups_every: seconds above 0 are expected.")


def _check_master(settings: MasterStartup) -> None:
    if settings.ready_deadline <= 0:
        raise StartupError("ready_deadline: seconds above 0 are expected.")
    if not _DOMAIN.fullmatch(settings.domain):
        raise StartupError(f"{settings.domain!r} is no name of a host, such as remora.example.com.")


def _deadline(role: _Role) -> str:
    text = _part("startup/units/deadline.sh").rstrip("\n")
    for name, value in {"SECONDS": f"{role.seconds:g}", "NOT-YET": role.not_yet, "DONE": role.done}.items():
        text = text.replace(f"@{name}@", value)
    return text


def _source(path: str) -> str:
    text = _part(path).rstrip("\n")
    return f"cat > worker_bootstrap/{path} <<'{END}'\n{text}\n{END}"


def _part(path: str) -> str:
    return files("worker_bootstrap").joinpath(*path.split("/")).read_text()
