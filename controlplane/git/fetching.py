"""A fetch: the mirror brought up to date, its branches, tags and commits made known."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from controlplane.commits.models import Commit
from controlplane.db.ids import uuid7
from controlplane.git.access import scan_host_key
from controlplane.git.errors import GitError
from controlplane.git.facts import Facts
from controlplane.git.keys import fingerprint
from controlplane.git.mirror import Mirror, Ref, Revision
from controlplane.git.models import Repository, RepositoryRef
from controlplane.net.reach import Reach

USUAL_REFS = ("main", "master")


class HostKeyError(GitError):
    """The server shows `offered`, which nobody accepted."""

    def __init__(self, code: str, offered: str, **arguments: Any) -> None:
        super().__init__(code, fingerprint=fingerprint(offered), **arguments)
        self.offered = offered


def bring(mirror: Mirror, facts: Facts, reach: Reach, told: Callable[[str], None]) -> None:
    """Fetch into the mirror, whose lock the caller holds. Raises GitError, HostKeyError."""
    remote, pinned = facts.remote, facts.credentials.host_key
    if remote.scheme == "ssh" and not pinned:
        offered = scan_host_key(remote, reach, mirror.folder)
        raise HostKeyError("git_host_key_unknown", offered, host=remote.host)
    try:
        mirror.fetch(remote, facts.credentials, reach, told)
    except GitError as error:
        if error.code != "git_host_key_changed":
            raise
        offered = scan_host_key(remote, reach, mirror.folder)
        if offered == pinned:
            raise GitError("git_unreachable") from error
        raise HostKeyError(error.code, offered, host=remote.host, known=fingerprint(pinned)) from error


def record(
    session: Session, facts: Facts, refs: list[Ref], revisions: list[Revision], now: datetime
) -> list[tuple[str, str]]:
    """Write what a fetch found; (name, commit) of the branches and tags that are new or have moved."""
    before = {
        (row.kind, row.name): row.identifier
        for row in session.scalars(select(RepositoryRef).where(RepositoryRef.repository_id == facts.repository))
    }
    _replace_refs(session, facts, refs)
    _record_commits(session, facts, labels(refs, revisions, facts.ref), revisions, now)
    moved = [ref for ref in refs if before.get((ref.kind, ref.name)) != ref.identifier]
    session.execute(
        update(Repository)
        .where(Repository.id == facts.repository)
        .values(fetched_at=now, fetch_reason="", fetch_error="", offered_host_key="")
    )
    return [(ref.name, ref.identifier) for ref in moved]


def labels(refs: list[Ref], revisions: list[Revision], preferred: str) -> dict[str, str]:
    """A name for each commit: of several the project's own branch, then a usual one, then branches before tags."""
    usual = (preferred, *USUAL_REFS)

    def rank(ref: Ref) -> tuple[int, str, str]:
        return (usual.index(ref.name) if ref.name in usual else len(usual), ref.kind, ref.name)

    found = {revision.identifier: revision.source for revision in revisions}
    return found | {ref.identifier: ref.name for ref in sorted(refs, key=rank, reverse=True)}


def _replace_refs(session: Session, facts: Facts, refs: list[Ref]) -> None:
    gone = delete(RepositoryRef).where(RepositoryRef.repository_id == facts.repository)
    session.execute(gone, execution_options={"synchronize_session": False})
    session.add_all(
        RepositoryRef(
            organization_id=facts.organization,
            repository_id=facts.repository,
            project_id=facts.project,
            kind=ref.kind,
            name=ref.name,
            identifier=ref.identifier,
        )
        for ref in refs
    )


def _record_commits(
    session: Session, facts: Facts, names: dict[str, str], revisions: list[Revision], now: datetime
) -> None:
    of = select(Commit).where(Commit.project_id == facts.project, Commit.adhoc.is_(False))
    known = {row.identifier: row for row in session.scalars(of)}
    for row in known.values():
        row.listed = row.identifier in names
        if row.listed:
            row.ref, row.repository_id = names[row.identifier], facts.repository
    session.add_all(
        new_commit(facts, revision, names[revision.identifier], now)
        for revision in revisions
        if revision.identifier not in known
    )


def new_commit(facts: Facts, revision: Revision, ref: str, now: datetime, *, listed: bool = True) -> Commit:
    """A commit that is known, and whose files nobody looked at yet."""
    return Commit(
        id=uuid7(),
        organization_id=facts.organization,
        project_id=facts.project,
        repository_id=facts.repository,
        identifier=revision.identifier,
        ref=ref,
        description=revision.message,
        author=revision.author,
        adhoc=False,
        listed=listed,
        yaml_path=facts.yaml_path,
        commit_time=revision.time,
        created_at=now,
    )
