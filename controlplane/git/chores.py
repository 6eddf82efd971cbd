"""Chores of repositories: fetching, snapshots of commits, forgetting a copy. They alone start `git`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict
from sqlalchemy import select, update

from controlplane.chores.errors import ChoreFailedError
from controlplane.chores.kinds import Kind
from controlplane.chores.run import Run
from controlplane.commits.models import Commit
from controlplane.data.chores import open_stores
from controlplane.data.stores.base import StoreError
from controlplane.dispatch.leases import database_now
from controlplane.git.errors import GitError
from controlplane.git.facts import Facts, read_facts
from controlplane.git.fetching import HostKeyError, bring, new_commit, record
from controlplane.git.mirror import Mirror
from controlplane.git.models import Repository
from controlplane.git.snapshots import Snapshot, make_snapshot
from controlplane.net.reach import Reach
from controlplane.security.vault import Vault

MOST_TOLD = 1_000


class OfRepository(BaseModel):
    """Arguments of a chore for one repository."""

    model_config = ConfigDict(extra="forbid", strict=True)

    repository: str


class OfCommit(OfRepository):
    """Arguments of a snapshot: a hash, or the beginning of one."""

    commit: str


@dataclass(frozen=True)
class Work:
    """What a try works with."""

    run: Run
    facts: Facts
    mirror: Mirror
    reach: Reach

    def bring(self) -> None:
        """Fetch, and write how it ended. Raises GitError."""
        self.run.tell(f"fetching from {self.facts.remote.host}")
        try:
            bring(self.mirror, self.facts, self.reach, self.run.tell)
        except GitError as error:
            offered = error.offered if isinstance(error, HostKeyError) else ""
            with self.run.begin() as session:
                values: dict[str, Any] = {"fetch_reason": error.code, "fetch_error": str(error)}
                values |= {"offered_host_key": offered} if offered else {}
                session.execute(update(Repository).where(Repository.id == self.facts.repository).values(**values))
            raise

    def record(self) -> list[tuple[str, str]]:
        """Make known what the mirror has; what is new or has moved."""
        self.run.tell("reading branches, tags and commits")
        refs = self.mirror.refs()
        revisions = self.mirror.revisions(self.run.settings.git_commits, refs)
        size = self.mirror.size()
        with self.run.begin() as session:
            row = session.get(Repository, self.facts.repository, with_for_update=True)
            if row is None or row.url != self.facts.remote.url:
                raise ChoreFailedError("The repository's address was changed meanwhile; fetch again.", "gone")
            moved = record(session, self.facts, refs, revisions, database_now(session))
            session.execute(update(Repository).where(Repository.id == self.facts.repository).values(size=size))
        return moved


@contextmanager
def _work(run: Run, repository: str) -> Iterator[Work | None]:
    """Alone in the repository's folder; None when it is gone. What `git` refuses ends the chore with its sentence."""
    vault = Vault.from_file(run.settings.keys_dir / "secret.key")

    def look() -> Facts | None:
        with run.begin() as session:
            return read_facts(session, vault, repository)

    if look() is None:
        yield None
        return
    mirror = Mirror(run.settings, repository, run.check)
    try:
        with mirror.locked():
            # Looked at again: address or credentials may have been changed while another one worked in the folder.
            facts = look()
            yield None if facts is None else Work(run, facts, mirror, Reach.from_settings(run.settings))
    except GitError as error:
        raise ChoreFailedError(str(error), error.code) from error


def fetch(run: Run, arguments: OfRepository) -> dict[str, Any]:
    """Bring the mirror and what is known of it up to date."""
    with _work(run, arguments.repository) as work:
        if work is None:
            return {"commits": []}
        work.bring()
        moved = work.record()
    return {"commits": [{"ref": name, "identifier": identifier} for name, identifier in moved[:MOST_TOLD]]}


def snapshot(run: Run, arguments: OfCommit) -> dict[str, Any]:
    """Make a commit's archive and judge its valohai.yaml; a host that has no copy of the repository fetches one."""
    with _work(run, arguments.repository) as work:
        if work is None:
            raise ChoreFailedError("The repository was removed from the project.", "gone")
        found = work.mirror.find(arguments.commit)
        if found is None:
            work.bring()
            work.record()
            found = work.mirror.find(arguments.commit)
        if found is None:
            raise GitError("git_no_commit", identifier=arguments.commit)
        run.tell(f"archiving {found.identifier[:12]}")
        facts = work.facts
        made = make_snapshot(
            work.mirror, found.identifier, facts.project, facts.yaml_path, run.settings, _store_of(run)
        )
        with run.begin() as session:
            of = (Commit.project_id == facts.project, Commit.identifier == found.identifier)
            commit = session.scalar(select(Commit).where(*of))
            if commit is None:
                commit = new_commit(facts, found, found.source, database_now(session), listed=False)
                session.add(commit)
            _apply(commit, made, facts.yaml_path)
    return {"commit": found.identifier, "errors": made.errors}


def forget(run: Run, arguments: OfRepository) -> dict[str, Any]:
    """Remove the copy of a repository that no project has any more."""
    with run.begin() as session:
        if session.get(Repository, arguments.repository) is not None:
            return {}
    mirror = Mirror(run.settings, arguments.repository, run.check)
    with mirror.locked():
        mirror.forget()
    return {}


def _apply(commit: Commit, made: Snapshot, yaml_path: str) -> None:
    if made.key:
        # One that is there stays: executions that were accepted by an earlier path of valohai.yaml need it.
        commit.archive_key, commit.archive_sha256, commit.archive_size = made.key, made.sha256, made.size
    commit.config_text, commit.config, commit.config_errors = made.text, made.config, list(made.errors)
    commit.yaml_path = yaml_path


def _store_of(run: Run) -> Callable[[str, Path], Any]:
    """Puts a file into the code store. Raises ChoreFailedError."""

    def put(key: str, file: Path) -> None:
        try:
            with run.begin() as session:
                store = open_stores(run.settings).embedded(session, "code")
            store.put_file(key, file)
        except StoreError as error:
            raise ChoreFailedError(
                f"The code store does not take the archive now ({error.code}); try again.", "store_failed"
            ) from error

    return put


GIT_FETCH = Kind(
    name="git-fetch",
    summary="Fetch a project's repository.",
    arguments=OfRepository,
    handler=fetch,
)
GIT_SNAPSHOT = Kind(
    name="git-snapshot",
    summary="Archive the code of one commit of a repository.",
    arguments=OfCommit,
    handler=snapshot,
)
GIT_FORGET = Kind(
    name="git-forget",
    summary="Remove the copy of a repository that no project has any more.",
    arguments=OfRepository,
    handler=forget,
)
