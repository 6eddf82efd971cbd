"""Fixtures of the loops' tests."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from dispatch.rig import RedisServer, Rig, furnish, make_settings
from fixtures.executions import Ground


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[RedisServer]:
    if shutil.which("redis-server") is None:
        pytest.skip("NOT RUN: redis-server is not installed (apt-get install redis-server)")
    server = RedisServer(tmp_path / "redis")
    server.start()
    yield server
    server.stop()


@pytest.fixture
def still_rig(ground: Ground, redis_server: RedisServer, database_url: str, tmp_path: Path) -> Iterator[Rig]:
    """Everything but running loops."""
    settings = make_settings(tmp_path / "home", database_url, redis_server.url("master"), redis_server.url("chores"))
    furnish(ground, settings)
    made = Rig(ground, redis_server, settings)
    yield made
    made.parts.db.engine.dispose()


@pytest.fixture
def rig(still_rig: Rig) -> Iterator[Rig]:
    still_rig.start()
    yield still_rig
    still_rig.stop()
