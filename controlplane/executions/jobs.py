"""The job document of an attempt. Pure: everything it needs is given."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import unquote, urlsplit

from controlplane.clock import api_time
from controlplane.commits.models import Commit
from controlplane.data.models import Datum
from controlplane.environments.models import Worker, WorkerGroup
from controlplane.executions.models import Execution
from controlplane.projects.models import Project
from controlplane.stores.uris import STORE_SCHEMES, key_of
from worker_bootstrap.protocol import crypto
from worker_bootstrap.protocol.job import Code, Container, Input, InputFile, Job, Limits, Mount


@dataclass(frozen=True)
class Facts:
    """What surrounds an execution when it is granted. `secret_env` values are in clear: they leave sealed only."""

    commit: Commit
    project: Project
    group: WorkerGroup
    worker: Worker
    creator: dict[str, str]
    datums: dict[str, Datum]
    plain_env: dict[str, str]
    secret_env: dict[str, str]
    relay_token: str
    stop_grace: float
    metadata_per_second: int
    now: datetime


def build_job(execution: Execution, attempt_id: str, number: int, facts: Facts) -> Job:
    """The job of attempt `number`."""
    settings = facts.group.settings
    secrets = {
        "env": facts.secret_env,
        "mask": sorted(value for value in facts.secret_env.values() if value),
        "relay_token": facts.relay_token,
        "registry": None,
    }
    sealed = crypto.seal(crypto.unb64(facts.worker.seal_key), json.dumps(secrets).encode(), attempt_id.encode())
    return Job(
        execution=execution.id,
        attempt=attempt_id,
        number=number,
        worker=facts.worker.id,
        installation=facts.worker.installation_id,
        organization=execution.organization_id,
        project=execution.project_id,
        title=execution.title or execution.step,
        code=Code(
            identifier=facts.commit.identifier,
            sha256=facts.commit.archive_sha256,
            size=facts.commit.archive_size,
            source_path=execution.options.get("source_path", ""),
        ),
        container=Container(
            image=execution.image,
            command=execution.interpolated_command,
            cpu=float(execution.options.get("cpu", 0)),
            memory=int(execution.options.get("memory", 0)),
            gpus=int(settings.get("gpus_per_slot", 0)),
            host_network=bool(settings.get("host_network", False)),
            ca_bundle=bool(settings.get("ca_bundle", False)),
            proxy=dict(settings.get("proxy", {})),
            mounts=[Mount(m["source"], m["destination"], m["readonly"]) for m in execution.options.get("mounts", [])],
        ),
        limits=Limits(
            time_limit=float(execution.time_limit),
            no_output_timeout=float(execution.no_output_timeout),
            stop_grace=facts.stop_grace,
            metadata_per_second=facts.metadata_per_second,
        ),
        inputs=[_input(execution, name, uris, facts.datums) for name, uris in execution.inputs.items()],
        env={**facts.plain_env, **_identity(execution)},
        config={"execution": _execution_config(execution, facts), "parameters": execution.parameters},
        secrets=crypto.b64(sealed),
    )


def _identity(execution: Execution) -> dict[str, str]:
    return {"VH_JOB_ID": f"exec-{execution.id}", "VH_EXECUTION_ID": execution.id, "VH_PROJECT_ID": execution.project_id}


@dataclass(frozen=True)
class _Source:
    """One file: its address, and what is known of it. `root`: the wildcard's folder, for an address that one gave."""

    uri: str
    datum: Datum | None = None
    size: int | None = None
    version: str = ""
    root: str = ""


def _sources(execution: Execution, uris: list[str], datums: dict[str, Datum]) -> list[_Source]:
    listed = execution.options.get("files", {})
    found: list[_Source] = []
    for uri in uris:
        if uri in listed:
            found += [_Source(one, None, size, version, root) for one, size, version, root in listed[uri]]
        else:
            datum = datums.get(uri.removeprefix("datum://")) if uri.startswith("datum://") else None
            found.append(_Source(uri, datum))
    return found


def _input(execution: Execution, name: str, uris: list[str], datums: dict[str, Datum]) -> Input:
    options = execution.options.get("inputs", {}).get(name, {})
    files: list[InputFile] = []
    taken: set[str] = set()
    sources = _sources(execution, uris, datums)
    for index, source in enumerate(sources):
        given = options.get("filename") if len(sources) == 1 else ""
        filename = given or _base(source).rpartition("/")[2] or f"file-{index}"
        path = _unused(_path(source, filename, options.get("keep_directories", "none")), taken)
        taken.add(path)
        files.append(_file(f"{name}-{index}", source, path, options.get("download", "always")))
    return Input(name=name, files=files, input_id=name)


def _file(file_id: str, source: _Source, path: str, download: str) -> InputFile:
    name, datum = path.rpartition("/")[2], source.datum
    if datum is None:
        stored = source.uri if source.uri.partition("://")[0] in STORE_SCHEMES else ""
        return InputFile(
            id=file_id,
            uri=source.uri,
            path=path,
            name=name,
            size=source.size,
            version=source.version,
            storage_uri=stored,
            download_intent=download,
        )
    checksums = {"md5": datum.md5, "sha1": datum.sha1, "sha256": datum.sha256}
    return InputFile(
        id=file_id,
        uri=source.uri,
        path=path,
        name=name,
        size=datum.size,
        checksums={kind: value for kind, value in checksums.items() if value},
        version=datum.id,
        datum_id=datum.id,
        storage_uri=datum.uri,
        metadata=datum.user_metadata,
        download_intent=download,
    )


def _base(source: _Source) -> str:
    """Name with its folders: of a store's address the key as it is, of a web address the path that it means."""
    if source.datum is not None:
        return source.datum.name
    is_stored = source.uri.partition("://")[0] in STORE_SCHEMES
    return key_of(source.uri) if is_stored else unquote(urlsplit(source.uri).path)


def _path(source: _Source, filename: str, keep: str) -> str:
    """`suffix` keeps the folders below a wildcard's root: an address without a wildcard has none."""
    base = source.uri.removeprefix(source.root) if keep == "suffix" and source.root else _base(source)
    kept = keep == "full" or (keep == "suffix" and bool(source.root))
    folders = [part for part in base.split("/")[:-1] if part not in ("", ".", "..")]
    return "/".join([*folders, filename]) if kept and folders else filename


def _unused(path: str, taken: set[str]) -> str:
    """The path, or one with a number before it. A file can't have a folder's name."""
    found, number = path, 0
    while found in taken or any(other.startswith(f"{found}/") or found.startswith(f"{other}/") for other in taken):
        number += 1
        found = f"{number}-{path}"
    return found


def _execution_config(execution: Execution, facts: Facts) -> dict[str, Any]:
    return {
        "valohai.commit-identifier": facts.commit.identifier,
        "valohai.creator-id": execution.creator_id,
        "valohai.creator-name": facts.creator.get("name", ""),
        "valohai.creator-email": facts.creator.get("email", ""),
        "valohai.environment-id": facts.group.id,
        "valohai.environment-name": facts.group.name,
        "valohai.environment-slug": facts.group.slug,
        "valohai.execution-counter": execution.counter,
        "valohai.execution-ctime": api_time(execution.created_at),
        "valohai.execution-duration": None,
        "valohai.execution-id": execution.id,
        "valohai.execution-image": execution.image,
        "valohai.execution-qtime": api_time(execution.queued_at),
        "valohai.execution-status": "started",
        "valohai.execution-step": execution.step,
        "valohai.execution-tags": execution.tags,
        "valohai.execution-title": execution.title or execution.step,
        "valohai.project-id": facts.project.id,
        "valohai.project-name": facts.project.name,
    }
