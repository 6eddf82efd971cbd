"""Inputs of an attempt: fetched, checked, cached."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from worker_bootstrap.agent import reasons
from worker_bootstrap.agent.files import DownloadError, cache_key, check_input, digests
from worker_bootstrap.protocol.job import InputFile, Job
from worker_bootstrap.protocol.messages import UrlItem

if TYPE_CHECKING:
    from worker_bootstrap.agent.attempt import Tools

PARALLEL = 4


def fetch_inputs(job: Job, folder: Path, tools: Tools, status: Callable[[str], None]) -> dict[str, Any]:
    """Files in place; returns the content of `inputs.json`. Raises DownloadError."""
    plans = [(entry.name, file) for entry in job.inputs for file in entry.files]
    with ThreadPoolExecutor(PARALLEL) as pool:
        entries = list(pool.map(lambda plan: _entry(job, folder, tools, status, *plan), plans))
    found: dict[str, Any] = {entry.name: {"input_id": entry.input_id, "files": []} for entry in job.inputs}
    for (name, _), shown in zip(plans, entries, strict=True):
        found[name]["files"].append(shown)
    return found


def _entry(
    job: Job, folder: Path, tools: Tools, status: Callable[[str], None], name: str, file: InputFile
) -> dict[str, Any]:
    target = folder / name / file.path
    if not target.resolve().is_relative_to((folder / name).resolve()):
        raise DownloadError(reasons.INPUT_NOT_FOUND, f"{file.path[:100]!r} leaves its folder")
    shown: dict[str, Any] = {
        "name": file.name,
        "path": f"/valohai/inputs/{name}/{file.path}",
        "uri": file.uri,
        "size": file.size,
        "checksums": file.checksums,
        "metadata": [file.metadata] if file.metadata else [],
        "datum_id": file.datum_id,
        "storage_uri": file.storage_uri,
        "download_intent": file.download_intent,
    }
    if file.download_intent == "on-demand":
        return shown
    target.parent.mkdir(parents=True, exist_ok=True)
    status(f"Input {name}: {file.name}")
    found = _fetch(job, file, target, tools)
    return {**shown, "size": found.size, "checksums": {"md5": found.md5, "sha1": found.sha1, "sha256": found.sha256}}


def _fetch(job: Job, file: InputFile, target: Path, tools: Tools) -> Any:
    key = cache_key(job.organization, file)
    cached = tools.home / "cache" / key if key else None
    if cached is not None and cached.exists():
        os.utime(cached)
        shutil.copyfile(cached, target)
        return digests(target)
    tools.transfer.download(lambda: _url(job, file, tools), target)
    found = check_input(file, target)
    if cached is not None:
        _keep(target, cached, tools.config.cache_bytes)
    return found


def _url(job: Job, file: InputFile, tools: Tools) -> str:
    (item,) = tools.wire.ask_urls(job.attempt, [UrlItem(file.id, "input", file.id)], tools.config.url_timeout)
    if item.error:
        raise DownloadError(reasons.INPUT_NOT_FOUND, f"{file.name}: {item.error}")
    return item.url


def _keep(source: Path, cached: Path, limit: int) -> None:
    """Copy into the cache, the longest unused ones leaving first."""
    cached.parent.mkdir(parents=True, exist_ok=True)
    size = source.stat().st_size
    entries = sorted((p for p in cached.parent.iterdir() if p.is_file()), key=lambda p: p.stat().st_mtime)
    total = sum(p.stat().st_size for p in entries) + size
    for old in entries:
        if total <= limit:
            break
        total -= old.stat().st_size
        old.unlink()
    if total <= limit:
        temporary = cached.with_suffix(".new")
        shutil.copyfile(source, temporary)
        temporary.replace(cached)
