"""The code snapshot: fetched, checked, unpacked into the attempt's repository."""

from __future__ import annotations

from pathlib import Path

from worker_bootstrap.agent import reasons
from worker_bootstrap.agent.attempt import archive
from worker_bootstrap.agent.attempt.context import Context
from worker_bootstrap.agent.attempt.digest import file_digests
from worker_bootstrap.agent.attempt.download import (
    Address,
    ChangedError,
    Download,
    NotFoundError,
    UnreachableError,
)
from worker_bootstrap.agent.attempt.errors import infrastructure_error, user_error
from worker_bootstrap.agent.cache import cache_key


def fetch_code(context: Context, repository: Path) -> None:
    """Unpack the job's snapshot into the empty folder `repository`. Raises AttemptError, OSError."""
    code, config = context.job.code, context.config
    target = context.folder / "code.tar.gz"
    cache = context.tools.cache
    key = cache_key(context.job.organization, "code", code.sha256, code.size)
    with cache.only_one(key):
        if context.controls.clean or cache.take(key, target) is None:
            _download(context, target)
            digests = file_digests(target)
            if digests.sha256 != code.sha256:
                target.unlink()
                raise infrastructure_error(
                    reasons.CODE_NOT_FOUND, "the stored snapshot's bytes are not the commit's (its sha256 is another)"
                )
            if cache.keep(key, target, digests):
                cache.take(key, target)
    try:
        limits = archive.Limits(config.code_max_files, config.code_max_bytes)
        archive.unpack(target, repository, limits)
    except archive.BadArchiveError as error:
        raise user_error(reasons.CODE_BAD, str(error)) from error
    target.unlink(missing_ok=True)


def _download(context: Context, target: Path) -> None:
    code = context.job.code

    def address() -> Address:
        found, why = context.address("code", code.identifier)
        if found is None:
            raise infrastructure_error(reasons.CODE_NOT_FOUND, why)
        return found

    try:
        Download(lambda _: context.http(by_user=False), address, target, context.rules()).run()
    except (NotFoundError, UnreachableError, ChangedError) as error:
        raise infrastructure_error(reasons.CODE_NOT_FOUND, str(error)) from error
