"""Each file of `valohai-yaml`'s own examples, uploaded: judged as that package judges it."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import select
from valohai_yaml.lint import lint

from controlplane.commits.config import MAX_SHOWN
from controlplane.commits.models import Commit
from controlplane.db.session import SYSTEM
from fixtures.corpus import FOLDERS, corpus
from fixtures.web import World, make_archive

COUNTS = {
    "examples": 35,
    "tests/valid_examples": 4,
    "tests/warning_examples": 8,
    "tests/error_examples": 21,
}


@pytest.fixture(scope="module")
def examples() -> dict[str, dict[str, bytes]]:
    return corpus(Path.home() / ".cache" / "remora" / "sdist")


def test_the_whole_corpus_is_here(examples: dict[str, dict[str, bytes]]) -> None:
    assert {folder: len(files) for folder, files in examples.items()} == COUNTS


@pytest.mark.parametrize("folder", FOLDERS)
def test_judged_the_same(world: World, examples: dict[str, dict[str, bytes]], folder: str) -> None:
    wrong = {name: why for name, text in examples[folder].items() if (why := _differs(world, text))}
    assert wrong == {}


def _differs(world: World, text: bytes) -> str:
    """Empty when the upload ends as the package's own judgement says, with the same warnings."""
    judged = lint(text.decode())
    answer = world.client("ann").upload(world.project, make_archive(valohai_yaml=text))
    if judged.error_count:
        refused = answer.status_code == 400 and answer.json["data"][0]["code"] == "bad_yaml"
        return "" if refused else f"{judged.error_count} errors, but {answer.status_code} {answer.text[:300]}"
    if answer.status_code not in (200, 201):
        return f"no errors, but {answer.status_code} {answer.text[:300]}"
    with world.services.db.read(SYSTEM) as session:
        config = session.scalars(select(Commit.config).where(Commit.identifier == answer.json["identifier"])).one()
    expected = [str(message["message"])[:500] for message in judged.warnings][:MAX_SHOWN]
    return "" if config and config["warnings"] == expected else f"other warnings than {expected}: {config}"
