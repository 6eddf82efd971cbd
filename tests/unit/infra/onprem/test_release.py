"""A release is trusted by the control plane's keys, before any machine is touched."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from infra.onprem.release import ReleaseMissingError, keys_here, open_release
from worker_bootstrap import release
from worker_bootstrap.protocol import crypto
from worker_bootstrap.release import Manifest, ReleaseFile

NOW = datetime(2027, 1, 2, tzinfo=UTC)
KEY, OTHER = crypto.SigningKey(b"1" * 32), crypto.SigningKey(b"2" * 32)
BODY = b"the agent"
SERVER = b"the control plane"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    file = ReleaseFile("agent.pex", hashlib.sha256(BODY).hexdigest(), len(BODY))
    expires = (NOW + timedelta(days=1)).isoformat()
    server = ReleaseFile("server.zip", hashlib.sha256(SERVER).hexdigest(), len(SERVER))
    files = {"x86_64": file, "server-cp311-x86_64": server}
    manifest = Manifest(release.NAME, "0.2.0", "0.1.0", NOW.isoformat(), expires, files)
    (tmp_path / "server.zip").write_bytes(SERVER)
    (tmp_path / "manifest.json").write_bytes(release.sign_manifest(manifest, [KEY]))
    (tmp_path / "agent.pex").write_bytes(BODY)
    (tmp_path / "versitygw-x86_64").write_bytes(b"store")
    (tmp_path / "versitygw-x86_64.sha256").write_text(hashlib.sha256(b"store").hexdigest() + "  versitygw-x86_64\n")
    return tmp_path


def test_what_was_signed_is_carried(folder: Path) -> None:
    found = open_release(str(folder), [crypto.b64(KEY.public)], NOW)
    assert (found.version, found.architectures) == ("0.2.0", ["x86_64"])
    assert found.agent("amd64") == ("agent.pex", BODY)
    assert found.store_program("x86_64") == b"store"
    assert found.servers == ["server-cp311-x86_64"] and found.server("amd64", 11) == SERVER


def test_refusals(folder: Path) -> None:
    keys = [crypto.b64(KEY.public)]
    with pytest.raises(ReleaseMissingError, match="is signed by .*; this machine trusts"):
        open_release(str(folder), [crypto.b64(OTHER.public)], NOW)
    with pytest.raises(ReleaseMissingError, match="expired"):
        open_release(str(folder), keys, NOW + timedelta(days=3))
    with pytest.raises(ReleaseMissingError, match=r"no-such/manifest.json can't be read"):
        open_release(f"{folder}/no-such", keys, NOW)
    with pytest.raises(ReleaseMissingError, match="begins with https:// or a folder"):
        open_release("http://somewhere.example.com/release", keys, NOW)
    with pytest.raises(ReleaseMissingError, match=r"release_keys: .*remora server invite"):
        open_release(str(folder), ["no key"], NOW)
    found = open_release(str(folder), keys, NOW)
    with pytest.raises(ReleaseMissingError, match="has no file for aarch64"):
        found.agent("arm64")
    with pytest.raises(ReleaseMissingError, match="has no file for server-cp313-x86_64"):
        found.server("x86_64", 13)
    (folder / "agent.pex").write_bytes(b"the other")
    with pytest.raises(ReleaseMissingError, match="its SHA-256 differs"):
        found.agent("x86_64")
    (folder / "versitygw-x86_64").write_bytes(b"other")
    with pytest.raises(ReleaseMissingError, match=r"is not the file of versitygw-x86_64.sha256"):
        found.store_program("x86_64")


def test_releases_of_this_machine_are_trusted_by_its_own_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REMORA_HOME", str(tmp_path))
    with pytest.raises(ReleaseMissingError, match=r"release_keys: no control plane .*`remora server invite` prints"):
        keys_here()
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "release.key").write_bytes(b"1" * 32)
    assert keys_here() == [crypto.b64(KEY.public)]
