"""One project, and one execution that has run, for the tests that only look."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from compat.sample_code import LINES, TRAIN, YAML
from fixtures.inputs import FileServer
from fixtures.stack import Stack
from fixtures.work import Work, new_work


@pytest.fixture(scope="session")
def work(stack: Stack, served: FileServer, new_folder: Callable[[], Path]) -> Work:
    """The project of these tests."""
    return new_work(stack, new_folder(), "compat", served, valohai_yaml=YAML, train_py=TRAIN, lines_py=LINES)


@pytest.fixture(scope="session")
def trained(work: Work) -> str:
    """Counter of a complete execution of `train` with everything that one can give."""
    counter = work.run(
        "train",
        "--epochs", "3", "--rate", "0.25", "--label", "two words", "--shout", "yes",
        "--data", work.files.url("numbers.csv"), "--data", work.files.url("more.csv"),
        before=(
            "--title", "A good run", "--tag", "nightly", "--tag", "compat", "--var", "GIVEN=given value",
            "--time-limit", "1h", "--environment", _slug(work.stack),
        ),
    )  # fmt: skip
    work.finish(counter)
    return counter


def _slug(stack: Stack) -> str:
    with stack.api() as api:
        return api.get("environments/").json()["results"][0]["slug"]
