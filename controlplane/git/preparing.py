"""Waiting for what chores do with repositories: requests ask, wait a while, and say when it takes longer."""

from __future__ import annotations

import re
import threading
import time
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from controlplane.chores.models import FINISHED, Chore
from controlplane.chores.service import ChoreService
from controlplane.commits.models import Commit
from controlplane.db.ids import is_id
from controlplane.db.session import Database
from controlplane.errors import ConflictError, TooManyError, UnavailableError, ValidationError
from controlplane.git.resolving import find_commit, is_prepared, of_project
from controlplane.permissions import Actor, can, require
from controlplane.projects.models import Project
from controlplane.settings import Settings

HASH = re.compile(r"[0-9a-f]{7,64}")
LOOK_EVERY = 0.1
MOST_WAITING = 100
NO_REPOSITORY = "This project has no repository; set one on its page `Repository`, or send code (`--adhoc`)."


class Preparing:
    """In transactions of its own: none is open while a request waits. At most half of the threads wait at once."""

    def __init__(self, db: Database, chores: ChoreService, settings: Settings) -> None:
        self._db = db
        self._chores = chores
        self._wait_seconds = settings.git_wait
        self._places = threading.BoundedSemaphore(max(1, settings.web_threads // 2))

    def fetch(self, actor: Actor, project: Project) -> dict[str, Any]:
        """{commits, errors} of a fetch of the project, in the client's form. Raises ConflictError."""
        require(actor, "commit.fetch", project.organization_id, project.id)
        chore = self._wait(self.ask_fetch(actor, project))
        if chore.state == "done":
            return {"commits": chore.result.get("commits", []), "errors": []}
        if chore.state == "failed":
            return {"commits": [], "errors": [chore.error]}
        how_far = f" ({chore.progress})" if chore.progress else ""
        return {"commits": [], "errors": [f"The fetch goes on by itself{how_far}; look again in a while."]}

    def ask_fetch(self, actor: Actor, project: Project) -> str:
        """The chore that fetches. Raises ConflictError for a project without a repository."""
        with self._db.begin(actor.scope) as session:
            repository = of_project(session, project.id)
            if repository is None:
                raise ConflictError(NO_REPOSITORY, code="no_repository")
            chore = self._chores.enqueue(
                session,
                "git-fetch",
                {"repository": repository.id},
                unique_key=f"git-fetch:{repository.id}",
                organization_id=repository.organization_id,
            )
            repository.fetch_chore_id = chore
            return chore

    def ready(self, actor: Actor, project_id: str, name: str) -> bool:
        """See to it that a commit's files were looked at; whether something had to be done for it.

        What is not there, or not this person's, is left to the caller to refuse.
        Raises ValidationError for a commit that nothing runs from, UnavailableError when it takes longer.
        """
        chore = self._asked(actor, project_id, name)
        if chore is None:
            return False
        row = self._wait(chore)
        if row.state == "failed":
            raise ValidationError({"commit": (row.error, row.reason)})
        if row.state not in FINISHED:
            raise UnavailableError(
                f"The code of {name[:80]!r} is being prepared ({row.progress or 'it waits in line'}); try again soon."
            )
        if row.result.get("errors"):
            raise ValidationError({"commit": (row.result["errors"][0], "bad_yaml")})
        return True

    def _asked(self, actor: Actor, project_id: str, name: str) -> str | None:
        """The chore that prepares the commit, or None when there is nothing to do."""
        with self._db.read(actor.scope) as session:
            project = session.get(Project, project_id) if is_id(project_id) else None
            if project is None or not can(actor, "commit.read", project.organization_id, project.id):
                return None
            commit = find_commit(session, project, name)
            if commit is not None and is_prepared(commit, project):
                _check(commit)
                return None
            repository = of_project(session, project.id)
            if repository is None or (commit is None and not HASH.fullmatch(name)):
                return None
            # Who only looks gets nothing fetched for a hash that may be made up.
            if commit is None and not can(actor, "execution.create", project.organization_id, project.id):
                return None
            wanted = name if commit is None else commit.identifier
        with self._db.begin(actor.scope) as session:
            self._check_line(session, repository.organization_id)
            return self._chores.enqueue(
                session,
                "git-snapshot",
                {"repository": repository.id, "commit": wanted},
                unique_key=f"git-snapshot:{repository.id}:{wanted}",
                organization_id=repository.organization_id,
            )

    @staticmethod
    def _check_line(session: Session, organization: str) -> None:
        """Each wrong hash costs a fetch: nobody fills the line of all others with them."""
        waiting = (Chore.kind == "git-snapshot", Chore.state == "queued", Chore.organization_id == organization)
        if (session.scalar(select(func.count()).select_from(Chore).where(*waiting)) or 0) >= MOST_WAITING:
            raise TooManyError(f"{MOST_WAITING} commits of this organisation are being prepared; try again soon.", 30)

    def _wait(self, chore: str) -> Chore:
        """The chore as it is when it has ended, or when the patience has."""
        has_place = self._places.acquire(blocking=False)
        deadline = time.monotonic() + (self._wait_seconds if has_place else 0.0)
        try:
            while True:
                with self._db.read(None) as session:
                    row = self._chores.get(session, chore)
                if row.state in FINISHED or time.monotonic() >= deadline:
                    return row
                time.sleep(LOOK_EVERY)
        finally:
            if has_place:
                self._places.release()


def _check(commit: Commit) -> None:
    if commit.config_errors:
        raise ValidationError({"commit": (str(commit.config_errors[0]), "bad_yaml")})
