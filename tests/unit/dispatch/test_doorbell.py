"""Knocks reach whoever listens, come after the commit, and are lost without harm."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session

from controlplane.doorbell import NAME, Doorbell, listen


@contextmanager
def listening(folder: Path) -> Iterator[threading.Event]:
    """Set at each knock."""
    heard, stop = threading.Event(), threading.Event()
    thread = threading.Thread(target=listen, args=(folder, heard.set, stop))
    thread.start()
    try:
        while not (folder / NAME).exists():
            stop.wait(0.01)
        yield heard
    finally:
        stop.set()
        Doorbell(folder).ring()
        thread.join()


def test_a_knock_is_heard_in_a_folder_with_a_long_path(tmp_path: Path) -> None:
    folder = tmp_path / ("long" * 30)
    folder.mkdir()
    with listening(folder) as heard:
        Doorbell(folder).ring()
        assert heard.wait(10)


def test_it_comes_after_the_commit_and_not_at_all_without(tmp_path: Path) -> None:
    with listening(tmp_path) as heard, Session(create_engine("sqlite://")) as session:
        bell = Doorbell(tmp_path)
        session.execute(text("select 1"))
        bell.ring_after(session)
        assert not heard.wait(0.2)
        session.commit()
        assert heard.wait(10)
    with listening(tmp_path) as heard, Session(create_engine("sqlite://")) as session:
        session.execute(text("select 1"))
        bell.ring_after(session)
        session.rollback()
        assert not heard.wait(0.2)


@pytest.mark.parametrize("folder", ["there", "missing"])
def test_nobody_listens(tmp_path: Path, folder: str) -> None:
    (tmp_path / "there").mkdir()
    Doorbell(tmp_path / folder).ring()
    # Ended without taking its socket away.
    with listening(tmp_path / "there"):
        pass
    Doorbell(tmp_path / folder).ring()
