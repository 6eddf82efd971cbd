"""The file of answers: what it must be, and what is said when it is not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml

from infra.files import write_private
from stacks.wizard.answers import read_answers
from stacks.wizard.errors import WizardError
from stacks.wizard.places import Place, installed

HOSTS = """\
flavour: on_prem
provider: ssh
on_prem:
  name: lab
  hosts: [{address: 10.0.0.1}]
  master: {dashboard: "https://r.example.com", addresses: ["10.1.0.0/24"], release_keys: ["a2V5"]}
"""


def refusal(path: Path) -> str:
    with pytest.raises(WizardError) as caught:
        read_answers(path)
    assert caught.value.exit_code == 1
    return str(caught.value)


def test_answers_choose_a_flavour(tmp_path: Path) -> None:
    file = tmp_path / "answers.yaml"
    file.write_text(HOSTS)
    values, choice = read_answers(file)
    assert (choice.flavour, choice.provider, choice.settings.name) == ("on_prem", "ssh", "lab")
    assert values == yaml.safe_load(HOSTS)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [", "is no YAML"),
        ("- a", "an object with flavour and provider is expected"),
        ("1: a", "an object with flavour and provider is expected"),
        ("x" * 300_000, "no file of answers"),
        ("!!python/object/apply:os.system ['true']", "is no YAML"),
        (HOSTS.replace("name: lab", "nam: lab"), "on_prem.nam: There is no such key. Did you mean name?"),
    ],
)
def test_what_is_wrong_is_said(text: str, said: str, tmp_path: Path) -> None:
    file = tmp_path / "answers.yaml"
    file.write_text(text)
    assert said in refusal(file)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    assert f"{tmp_path / 'none'} can't be read" in refusal(tmp_path / "none")


def test_an_installations_folder_is_private_and_for_one_at_a_time(tmp_path: Path) -> None:
    place = Place(tmp_path, "lab")
    place.make()
    write_private(place.answers, "a: 1")
    assert oct(place.folder.stat().st_mode)[-3:] == "700"
    assert {oct(path.stat().st_mode)[-3:] for path in (place.answers, place.passphrase)} == {"600"}
    passphrase = place.passphrase.read_text()
    place.make()
    assert place.passphrase.read_text() == passphrase
    assert installed(tmp_path) == ["lab"]
    with place.alone(), pytest.raises(WizardError, match="Another process works on lab"), place.alone():
        pass
    with place.alone():
        assert os.listdir(place.folder)
