"""The stream's application over real parts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dispatch.rig import RedisServer
from fixtures.executions import Ground
from stream.rig import Live, live_settings


@pytest.fixture
def make_live(ground: Ground, database_url: str, tmp_path: Path) -> Iterator[Callable[..., Live]]:
    """An execution whose log can be followed; settings may differ."""
    server = RedisServer(tmp_path / "redis")
    server.start()
    made: list[Live] = []

    def make(**changes: Any) -> Live:
        made.append(Live(ground, server, live_settings(tmp_path / "home", database_url, server, **changes)))
        return made[-1]

    yield make
    for live in made:
        live.close()
    server.stop()


@pytest.fixture
def live(make_live: Callable[..., Live]) -> Live:
    return make_live()
