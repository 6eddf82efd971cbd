"""A project of ann's, real Git servers, and a thread that runs the chores that are asked for."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select

from controlplane.chores.models import Chore
from controlplane.chores.registry import KINDS
from controlplane.chores.runner import Runner
from controlplane.db.ids import uuid7
from controlplane.db.session import SYSTEM
from controlplane.settings import Settings
from fixtures.git_server import HttpsGit, Repository, SshGit
from fixtures.tls import Authority
from fixtures.web import World
from git.rig import Rig


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HttpsGit]:
    folder = tmp_path_factory.mktemp("git-https")
    made = HttpsGit(folder / "repositories", Authority(folder / "ca", "Test authority"))
    yield made
    made.stop()


@pytest.fixture
def ssh(tmp_path: Path) -> Iterator[SshGit]:
    made = SshGit(tmp_path / "sshd")
    yield made
    made.stop()


@pytest.fixture
def database_url(tmp_path: Path, sqlite_template: Path) -> str:
    """One database is enough: this is about Git."""
    target = tmp_path / "git.db"
    target.write_bytes(sqlite_template.read_bytes())
    return f"sqlite:///{target}"


@pytest.fixture
def settings(settings: Settings, servers: HttpsGit) -> Settings:
    changes = {"allowed_networks": "127.0.0.0/8,::1/128", "ca_bundle": servers.authority.file, "git_wait": 30.0}
    return settings.model_copy(update=changes)


@pytest.fixture
def chores(world: World) -> Iterator[None]:
    """What the processes `loops` and `chores` do, without their Redis."""
    ended = threading.Event()

    def work() -> None:
        runner = Runner(world.services.db, world.services.settings, KINDS)
        while not ended.wait(0.02):
            with world.services.db.read(SYSTEM) as session:
                waiting = session.scalars(select(Chore.id).where(Chore.state == "queued")).all()
            for chore in waiting:
                runner.run(chore)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    yield
    ended.set()
    thread.join(30)
    assert not thread.is_alive()


@pytest.fixture
def repository(servers: HttpsGit) -> Repository:
    """A fresh one, open to everybody."""
    return Repository(servers.root / f"{uuid7()}.git")


@pytest.fixture
def rig(world: World, chores: None, servers: HttpsGit) -> Rig:
    return Rig(world, servers)
