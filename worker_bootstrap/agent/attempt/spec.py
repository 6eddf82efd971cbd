"""The container of an attempt: environment, folders, its share of the machine. Pure but for looking at paths."""

from __future__ import annotations

import os
import posixpath
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from worker_bootstrap.agent import reasons
from worker_bootstrap.agent.attempt import config_files
from worker_bootstrap.agent.attempt.context import Context
from worker_bootstrap.agent.attempt.errors import infrastructure_error, user_error
from worker_bootstrap.agent.attempt.inputs import is_on_demand
from worker_bootstrap.agent.attempt.limits import shown_bytes
from worker_bootstrap.agent.config import AgentConfig
from worker_bootstrap.agent.runtime.base import Bind, ContainerSpec
from worker_bootstrap.protocol.job import Container, Job, Mount

CA_TARGET = "/etc/remora/ca-bundle.crt"
CA_VARIABLES = ("SSL_CERT_FILE", "PIP_CERT", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
CA_DEFAULT = "/etc/ssl/certs/ca-certificates.crt"
FOLDERS = {
    "VH_CONFIG_DIR": "/valohai/config",
    "VH_INPUTS_DIR": "/valohai/inputs",
    "VH_OUTPUTS_DIR": "/valohai/outputs",
    "VH_REPOSITORY_DIR": "/valohai/repository",
}


@dataclass(frozen=True)
class Share:
    """What one slot may use: cores, bytes, device ids. 0 is no limit."""

    cpu: float
    memory: int
    gpus: tuple[str, ...]


def share_of(config: AgentConfig, slot: int, cpus: int, memory: int) -> Share:
    """The machine divided by its slots, a reserve kept for the agent; GPUs in blocks by slot."""
    per_slot = len(config.gpus) // config.slots
    devices = tuple(config.gpus[slot * per_slot : (slot + 1) * per_slot]) if slot >= 0 else ()
    usable = max(memory - config.memory_reserve, memory // 2)
    return Share(cpus / config.slots, usable // config.slots, devices)


def make_spec(context: Context, share: Share, image: str, gateway: str) -> ContainerSpec:
    """The container for the prepared folders of `context`. Raises AttemptError for a mount or missing devices."""
    job, wanted = context.job, context.job.container
    return ContainerSpec(
        attempt=job.attempt,
        execution=job.execution,
        number=job.number,
        image=image,
        command=config_files.command_line(wanted.command),
        workdir=FOLDERS["VH_REPOSITORY_DIR"],
        env=environment(job, context.secrets.env, gateway, ca=ca_bundle(context.config, wanted)),
        binds=binds(context),
        cpu=_cpu(context, share),
        memory=_memory(context, share),
        pids=wanted.pids,
        gpus=_gpus(context, share),
        host_network=context.host_network,
        labels={"remora.organization": job.organization, "remora.project": job.project},
    )


def environment(job: Job, secret: dict[str, str], gateway: str, *, ca: str) -> dict[str, str]:
    """Variables of the container: the group's, then the user's, then what nobody may change."""
    env: dict[str, str] = {"PYTHONUNBUFFERED": "1"}
    if ca:
        env |= dict.fromkeys(CA_VARIABLES, CA_TARGET)
    env |= _proxy_variables(job.container.proxy, gateway)
    return {**env, **job.env, **secret, **FOLDERS}


def binds(context: Context) -> list[Bind]:
    """Folders of the attempt, the CA bundle, and permitted mounts. Raises AttemptError."""
    base, job = context.folder, context.job
    found = [
        Bind(str(base / "repository"), FOLDERS["VH_REPOSITORY_DIR"], readonly=False),
        Bind(str(base / "outputs"), FOLDERS["VH_OUTPUTS_DIR"], readonly=False),
        Bind(str(base / "config"), FOLDERS["VH_CONFIG_DIR"], readonly=True),
        Bind(str(base / "inputs"), FOLDERS["VH_INPUTS_DIR"], readonly=False),
    ]
    # Files of the cache are hard links: without a read-only mount root in a container could write into the cache.
    for entry in job.inputs:
        if not is_on_demand(entry):
            target = f"{FOLDERS['VH_INPUTS_DIR']}/{entry.name}"
            found.append(Bind(str(base / "inputs" / entry.name), target, readonly=True))
        else:
            found.extend(_fetched_files(base / "inputs" / entry.name, f"{FOLDERS['VH_INPUTS_DIR']}/{entry.name}"))
    bundle = ca_bundle(context.config, job.container)
    if bundle:
        found.append(Bind(bundle, CA_TARGET, readonly=True))
    found.extend(_mount(mount, context.config.mounts_allowed) for mount in job.container.mounts)
    return found


def ca_bundle(config: AgentConfig, wanted: Container) -> str:
    """The machine's CA bundle, when the group wants it in containers."""
    if not wanted.ca_bundle:
        return ""
    candidates = (config.ca_bundle, os.environ.get("SSL_CERT_FILE", ""), CA_DEFAULT)
    return next((path for path in candidates if path and Path(path).is_file()), "")


def local_proxies(variables: dict[str, str]) -> list[tuple[str, int]]:
    """(host, port) of the group's proxies, which a fenced container must still reach."""
    found: set[tuple[str, int]] = set()
    for name, value in variables.items():
        if name.lower() not in ("http_proxy", "https_proxy"):
            continue
        parts = urlsplit(value if "://" in value else f"http://{value}")
        if parts.hostname:
            found.add((parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)))
    return sorted(found)


def _fetched_files(folder: Path, target: str) -> list[Bind]:
    """In a folder that the container writes to, each file that is there already is read-only by itself."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return [Bind(str(path), f"{target}/{path.relative_to(folder)}", readonly=True) for path in files]


def _mount(mount: Mount, allowed: list[str]) -> Bind:
    source = os.path.realpath(mount.source)
    for folder in allowed:
        real = os.path.realpath(folder)
        if source == real or source.startswith(real.rstrip("/") + "/"):
            break
    else:
        raise user_error(reasons.MOUNT_REFUSED, mount.source)
    parts = mount.destination.split("/")
    inside = "/" + posixpath.normpath(mount.destination).lstrip("/")
    if not mount.destination.startswith("/") or ".." in parts or inside == "/" or f"{inside}/".startswith("/valohai/"):
        raise user_error(reasons.MOUNT_REFUSED, f"{mount.source} at {mount.destination}")
    return Bind(source, mount.destination, mount.readonly)


def _proxy_variables(proxy: dict[str, str], gateway: str) -> dict[str, str]:
    """In both spellings; calls to the agent's relay never take the proxy."""
    if not proxy:
        return {}
    env: dict[str, str] = {}
    for name, value in proxy.items():
        env[name.lower()] = env[name.upper()] = value
    direct = ",".join(part for part in (env.get("no_proxy", ""), gateway, "127.0.0.1", "localhost") if part)
    return {**env, "no_proxy": direct, "NO_PROXY": direct}


def _cpu(context: Context, share: Share) -> float:
    """The smallest of the slot's share, the step's `resources` and the user's wish."""
    wishes = (context.job.container.cpu, context.controls.cpu)
    return min([share.cpu, *(wish for wish in wishes if wish > 0)])


def _memory(context: Context, share: Share) -> int:
    """What the step's `resources` ask for, but no more than the slot's share: others run beside it."""
    wanted = context.job.container.memory
    if wanted > share.memory:
        context.status(
            f"Memory is limited to {shown_bytes(share.memory)}, this slot's share, not {shown_bytes(wanted)}."
        )
    return min(wanted, share.memory) if wanted else share.memory


def _gpus(context: Context, share: Share) -> list[str] | int:
    count, places = context.job.container.gpus, context.controls.gpus
    if not count:
        return 0
    if not share.gpus and context.config.slots == 1 and places is None:
        return count
    if len(share.gpus) < count:
        detail = f"{count} GPUs a slot are needed, `gpus` in agent.json lists {len(share.gpus)} for this slot"
        raise infrastructure_error(reasons.ENGINE_ERROR, detail)
    devices = list(share.gpus[:count])
    if places is None:
        return devices
    missing = [place for place in places if place >= count]
    if missing:
        context.status(f"VH_GPUS names place {missing[0]}; this slot's GPUs have the places 0 to {count - 1}.")
    return [devices[place] for place in places if place < count]
