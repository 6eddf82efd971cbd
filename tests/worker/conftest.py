"""Agents under test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from worker.rig import Rig


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """An agent with two slots that the tests of a file share."""
    rig = Rig(tmp_path_factory.mktemp("rig"), slots=2)
    try:
        rig.agent.start()
        yield rig
    finally:
        rig.close()


@pytest.fixture
def make_rig(tmp_path: Path) -> Iterator[Callable[..., Rig]]:
    """Agents of a test's own, not started yet."""
    made: list[Rig] = []

    def make(**settings: Any) -> Rig:
        made.append(Rig(tmp_path / f"rig{len(made)}", **settings))
        return made[-1]

    yield make
    for rig in made:
        rig.close()


@pytest.fixture(scope="module")
def make_module_rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Rig]]:
    """Agents with other settings that tests of a file share, not started yet."""
    made: list[Rig] = []

    def make(**settings: Any) -> Rig:
        made.append(Rig(tmp_path_factory.mktemp("rig"), **settings))
        return made[-1]

    yield make
    for rig in made:
        rig.close()
