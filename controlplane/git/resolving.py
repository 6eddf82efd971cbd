"""From what people call a commit to the commit."""

from __future__ import annotations

import re

from sqlalchemy import select
from sqlalchemy.orm import Session

from controlplane.commits.models import Commit
from controlplane.errors import ValidationError
from controlplane.git.models import Repository, RepositoryRef
from controlplane.projects.models import Project

BEGINNING = re.compile(r"~?[0-9a-f]{7,64}")
SHOWN = 5


def of_project(session: Session, project_id: str) -> Repository | None:
    """The project's repository."""
    return session.scalar(select(Repository).where(Repository.project_id == project_id))


def find_commit(session: Session, project: Project, name: str) -> Commit | None:
    """By identifier, branch, tag or the beginning of a hash, in this order; a name means what the last fetch saw.

    Raises ValidationError for a beginning that several have.
    """
    of = select(Commit).where(Commit.project_id == project.id).order_by(Commit.created_at.desc(), Commit.id.desc())
    found = session.scalars(of.where(Commit.identifier == name).limit(1)).first()
    if found is not None:
        return found
    named = select(RepositoryRef.identifier).where(RepositoryRef.project_id == project.id, RepositoryRef.name == name)
    target = session.scalar(named.order_by(RepositoryRef.kind).limit(1))
    for wanted in (Commit.identifier == target, (Commit.ref == name) & Commit.adhoc):
        found = session.scalars(of.where(wanted).limit(1)).first()
        if found is not None:
            return found
    if not BEGINNING.fullmatch(name):
        return None
    several = list(session.scalars(of.where(Commit.identifier.startswith(name, autoescape=True)).limit(SHOWN)))
    if len(several) > 1:
        shown = ", ".join(row.identifier[:12] for row in several)
        raise ValidationError({"commit": (f"{name} begins several commits: {shown}; write more of it.", "ambiguous")})
    return several[0] if several else None


def missing_commit(session: Session, project: Project, name: str) -> ValidationError:
    """The refusal of a commit that is not there, with the way to get it."""
    what, remedy = "commit", "send the code first"
    if of_project(session, project.id) is not None:
        what, remedy = "commit, branch or tag", "fetch first (`vh project fetch`), or send the code (`--adhoc`)"
    return ValidationError({"commit": (f"The project has no {what} {name[:80]!r}; {remedy}.", "does_not_exist")})


def is_prepared(commit: Commit, project: Project) -> bool:
    """Whether its files were looked at by the project's present path of valohai.yaml: it runs, or says why not."""
    looked_at = bool(commit.archive_key or commit.config_errors)
    return commit.adhoc or (looked_at and commit.yaml_path == project.yaml_path)
