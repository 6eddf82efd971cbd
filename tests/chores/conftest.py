"""Fixtures of the chores' tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from chores.rig import QUICK, ChoreRig
from controlplane.db.session import Database
from dispatch.rig import RedisServer, make_settings


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path / "redis")
    server.start()
    yield server
    server.stop()


@pytest.fixture
def rig(database: Database, database_url: str, redis_server: RedisServer, tmp_path: Path) -> Iterator[ChoreRig]:
    """Neither relay nor process run yet."""
    chores, queue = redis_server.url("chores"), redis_server.url("master")
    settings = make_settings(tmp_path / "home", database_url, queue, chores, **QUICK)
    folder = tmp_path / "work"
    folder.mkdir()
    made = ChoreRig(database, redis_server, settings, folder)
    yield made
    made.stop()
