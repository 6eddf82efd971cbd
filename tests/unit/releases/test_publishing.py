"""The control plane's side of releases: keys, rotation, files that never change."""

from __future__ import annotations

import stat
import zipfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from controlplane.embedded.errors import SetupError
from controlplane.releases.keys import ReleaseKeys
from controlplane.releases.publishing import Publisher
from worker_bootstrap.release import ReleaseError, open_manifest, trusted_keys

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
YEAR = timedelta(days=365)


def agent(folder: Path, architecture: str, version: str, more: str = "") -> Path:
    """What stands for an agent's file."""
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(folder / f"remora-agent-{architecture}.pex", "w") as archive:
        archive.writestr("worker_bootstrap/agent/__init__.py", f'"""The agent."""\n\nVERSION = "{version}"\n{more}')
    return folder


@pytest.fixture
def keys(tmp_path: Path) -> ReleaseKeys:
    return ReleaseKeys(tmp_path / "keys")


@pytest.fixture
def publisher(keys: ReleaseKeys, tmp_path: Path) -> Publisher:
    return Publisher(keys, tmp_path / "store", lambda: NOW)


def test_a_release_is_signed_by_a_key_that_only_this_user_reads(
    publisher: Publisher, keys: ReleaseKeys, tmp_path: Path
) -> None:
    agent(tmp_path / "new", "x86_64", "0.3.0")
    made = publisher.publish(agent(tmp_path / "new", "aarch64", "0.3.0"), YEAR, "0.2.0")
    assert made.folder == tmp_path / "store" / "agent" / "0.3.0"
    opened = open_manifest((made.folder / "manifest.json").read_bytes(), trusted_keys(keys.public()), NOW)
    assert opened == made.manifest
    assert (opened.version, opened.minimum_version) == ("0.3.0", "0.2.0")
    assert opened.expires == "2027-03-01T12:00:00+00:00"
    assert sorted(opened.files) == ["aarch64", "x86_64"]
    assert stat.S_IMODE((tmp_path / "keys" / "release.key").stat().st_mode) == 0o600


def test_a_released_version_never_changes(publisher: Publisher, tmp_path: Path) -> None:
    publisher.publish(agent(tmp_path / "a", "x86_64", "0.3.0"), YEAR)
    publisher.publish(tmp_path / "a", YEAR)
    with pytest.raises(SetupError, match="raise the agent's version"):
        publisher.publish(agent(tmp_path / "b", "x86_64", "0.3.0", "# more"), YEAR)


def test_files_of_different_versions_are_no_release(publisher: Publisher, tmp_path: Path) -> None:
    agent(tmp_path / "a", "x86_64", "0.3.0")
    with pytest.raises(SetupError, match=r"different versions: 0\.3\.0, 0\.4\.0"):
        publisher.publish(agent(tmp_path / "a", "aarch64", "0.4.0"), YEAR)


@pytest.mark.parametrize(("minimum", "said"), [("9.0.0", "newer than the release"), ("nine", "is no version")])
def test_a_minimum_that_can_not_be(publisher: Publisher, tmp_path: Path, minimum: str, said: str) -> None:
    with pytest.raises(SetupError, match=said):
        publisher.publish(agent(tmp_path / "a", "x86_64", "0.3.0"), YEAR, minimum)


def test_what_is_no_agent(publisher: Publisher, tmp_path: Path) -> None:
    with pytest.raises(SetupError, match=r"tools/agent_release\.py"):
        publisher.publish(tmp_path, YEAR)
    (tmp_path / "remora-agent-x86_64.pex").write_text("hello")
    with pytest.raises(SetupError, match="is no file of the agent"):
        publisher.publish(tmp_path, YEAR)


def test_a_rotation_signs_with_both_keys_until_it_ends(publisher: Publisher, keys: ReleaseKeys, tmp_path: Path) -> None:
    folder = agent(tmp_path / "a", "x86_64", "0.3.0")
    former = trusted_keys(keys.public())
    keys.rotate()
    with pytest.raises(SetupError, match="a rotation of the release key goes on"):
        keys.rotate()
    raw = (publisher.publish(folder, YEAR).folder / "manifest.json").read_bytes()
    learned = open_manifest(raw, former, NOW).keys
    assert len(learned) == 2
    keys.end_rotation()
    raw = (publisher.publish(folder, YEAR).folder / "manifest.json").read_bytes()
    open_manifest(raw, trusted_keys(learned), NOW)
    with pytest.raises(ReleaseError, match="is signed by"):
        open_manifest(raw, former, NOW)
    with pytest.raises(SetupError, match="no rotation"):
        keys.end_rotation()


def server(folder: Path, version: str, name: str = "wanted.txt") -> Path:
    """What stands for a file of the control plane."""
    file = folder / "remora-server-cp311-x86_64.zip"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(name, f"click==8.5.1\nremora=={version}\n")
    return file


def test_the_control_plane_is_released_with_the_agent_of_its_version(publisher: Publisher, tmp_path: Path) -> None:
    folder = agent(tmp_path / "a", "x86_64", "0.3.0")
    file = server(folder, "0.3.0")
    made = publisher.publish(folder, YEAR)
    assert sorted(made.manifest.files) == ["server-cp311-x86_64", "x86_64"]
    assert (made.folder / file.name).read_bytes() == file.read_bytes()
    server(folder, "0.4.0")
    with pytest.raises(SetupError, match=r"different versions: 0.3.0, 0.4.0"):
        publisher.publish(folder, YEAR)
    server(folder, "0.3.0", name="other.txt")
    with pytest.raises(SetupError, match="is no file of the control plane"):
        publisher.publish(folder, YEAR)
    server(folder, "three")
    with pytest.raises(SetupError, match="names no version of the control plane"):
        publisher.publish(folder, YEAR)
