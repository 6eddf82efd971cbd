"""The agent's own command on a host: joining, releases beside each other, the unit, status."""

from __future__ import annotations

import hashlib
import json
import stat
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from worker_bootstrap.__main__ import main
from worker_bootstrap.credential import JoinCredential
from worker_bootstrap.host.fetching import Source, fetch
from worker_bootstrap.host.places import HOME, Releases, Trust
from worker_bootstrap.host.service import Service
from worker_bootstrap.protocol import crypto
from worker_bootstrap.release import Manifest, ReleaseError, ReleaseFile, sign_manifest

KEY, NEXT = crypto.SigningKey(b"k" * 32), crypto.SigningKey(b"n" * 32)
CREDENTIAL = JoinCredential(
    queue_url="redis://127.0.0.1:6379/0",
    group="here",
    join_password="password-of-the-queue",
    join_secret="secret-of-the-group",
    release_keys=[crypto.b64(KEY.public)],
)


class Shop:
    """A folder of releases; a file is a script that says its version."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def offer(self, version: str, keys: list[crypto.SigningKey] | None = None, **changes: Any) -> Path:
        folder = self.folder / version
        folder.mkdir(parents=True, exist_ok=True)
        script = changes.pop("script", f"#!/bin/sh\necho remora-agent {version}\n").encode()
        (folder / "remora-agent-x86_64.pex").write_bytes(script)
        file = ReleaseFile("remora-agent-x86_64.pex", hashlib.sha256(script).hexdigest(), len(script))
        now = datetime.now(UTC)
        manifest = Manifest(
            name="remora-agent",
            version=version,
            minimum_version="0.1.0",
            created=now.isoformat(),
            expires=(now + timedelta(days=1)).isoformat(),
            files={"x86_64": file},
            keys=[crypto.b64(key.public) for key in keys or [KEY]],
        )
        (folder / "manifest.json").write_bytes(sign_manifest(replace(manifest, **changes), keys or [KEY]))
        return folder


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path / "shop")


@pytest.fixture
def releases(tmp_path: Path) -> Releases:
    made = Releases(tmp_path / "root")
    made.root.mkdir()
    made.keep_trust(Trust([crypto.b64(KEY.public)]))
    return made


def take(folder: Path, releases: Releases) -> Any:
    return fetch(Source(str(folder)), releases, "x86_64", datetime.now(UTC))


def test_each_release_takes_the_place_of_the_former_one(shop: Shop, releases: Releases) -> None:
    for version in ("0.1.0", "0.2.0", "0.10.0"):
        assert take(shop.offer(version), releases).changed
    assert (releases.installed(), releases.former()) == ("0.10.0", "0.2.0")
    assert sorted(path.name for path in releases.root.glob("*.pex")) == [
        "remora-agent-0.10.0-x86_64.pex",
        "remora-agent-0.2.0-x86_64.pex",
    ]
    assert releases.current.stat().st_mode & stat.S_IXUSR


def test_the_same_release_again_changes_nothing(shop: Shop, releases: Releases) -> None:
    folder = shop.offer("0.2.0")
    take(folder, releases)
    assert not take(folder, releases).changed


def test_a_damaged_installed_file_is_put_right(shop: Shop, releases: Releases) -> None:
    folder = shop.offer("0.2.0")
    take(folder, releases)
    releases.current.write_text("#!/bin/sh\nexit 1\n")
    assert take(folder, releases).changed
    assert "0.2.0" in releases.current.read_text()


@pytest.mark.parametrize(
    ("offer", "code"),
    [
        ({"version": "0.1.0"}, "older"),
        ({"version": "0.3.0", "keys": [NEXT]}, "unknown_key"),
        ({"version": "0.3.0", "expires": "2020-01-01T00:00:00+00:00"}, "expired"),
        ({"version": "0.3.0", "script": "#!/bin/sh\necho no such library >&2; exit 1\n"}, "does_not_start"),
        ({"version": "0.3.0", "script": "not a program"}, "does_not_start"),
    ],
)
def test_a_refused_release_leaves_everything_as_it_was(
    shop: Shop, releases: Releases, offer: dict[str, Any], code: str
) -> None:
    take(shop.offer("0.2.0"), releases)
    before = sorted(path.name for path in releases.root.iterdir())
    with pytest.raises(ReleaseError) as caught:
        take(shop.offer(**offer), releases)
    assert caught.value.code == code
    assert releases.installed() == "0.2.0"
    assert sorted(path.name for path in releases.root.iterdir()) == before


def test_the_minimum_that_was_seen_once_stays(shop: Shop, releases: Releases) -> None:
    take(shop.offer("0.3.0", minimum_version="0.3.0"), releases)
    releases.current.unlink()
    with pytest.raises(ReleaseError) as caught:
        take(shop.offer("0.2.0"), releases)
    assert caught.value.code == "below_minimum"


def test_a_rotation_hands_trust_over(shop: Shop, releases: Releases) -> None:
    take(shop.offer("0.2.0", keys=[NEXT, KEY]), releases)
    take(shop.offer("0.3.0", keys=[NEXT]), releases)
    with pytest.raises(ReleaseError) as caught:
        take(shop.offer("0.4.0", keys=[KEY]), releases)
    assert caught.value.code == "unknown_key"


def test_the_command_says_why_it_refuses(
    shop: Shop, releases: Releases, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    place = ["fetch-release", "--root", str(releases.root)]
    assert main([*place, str(shop.offer("0.2.0"))]) == 0
    assert "Installed release 0.2.0" in capsys.readouterr().out
    assert main([*place, str(shop.offer("0.1.0"))]) == 1
    assert capsys.readouterr().err == (
        "remora-agent: The release 0.1.0 is older than 0.2.0, which is installed here.\n"
    )
    assert main([*place, str(tmp_path / "nowhere")]) == 1
    assert "nowhere/manifest.json: No such file or directory" in capsys.readouterr().err
    assert main([*place, "http://releases.example.test/manifest.json"]) == 1
    assert "https://" in capsys.readouterr().err


# ---- joining ----------------------------------------------------------------------------------------
def join(tmp_path: Path, credential: JoinCredential, *words: str) -> int:
    file = tmp_path / "credential"
    file.write_text(credential.encode() + "\n")
    return main(["join", "--home", str(tmp_path / "home"), "--credential", str(file), *words])


def test_join_writes_settings_that_nobody_else_reads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert join(tmp_path, CREDENTIAL, "--name", "box", "--slots", "3", "--mount", "/data", "--mount", "/more") == 0
    path = tmp_path / "home" / "agent.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    settings = json.loads(path.read_text())
    assert settings["name"] == "box" and settings["slots"] == 3
    assert settings["mounts_allowed"] == ["/data", "/more"]
    assert settings["join_secret"] == "secret-of-the-group"
    said = capsys.readouterr()
    assert "secret-of-the-group" not in said.out + said.err


def test_joining_again_keeps_what_a_person_set(tmp_path: Path) -> None:
    join(tmp_path, CREDENTIAL, "--slots", "3")
    assert join(tmp_path, replace(CREDENTIAL, join_secret="another-secret-of-the-group")) == 0
    settings = json.loads((tmp_path / "home" / "agent.json").read_text())
    assert (settings["slots"], settings["join_secret"]) == (3, "another-secret-of-the-group")


def test_certificates_of_the_credential_become_private_files(tmp_path: Path) -> None:
    tls = replace(CREDENTIAL, queue_url="rediss://queue.test:6380", ca="CA", certificate="CERT", key="KEY")
    assert join(tmp_path, tls) == 0
    settings = json.loads((tmp_path / "home" / "agent.json").read_text())
    assert [Path(settings["tls"][name]).read_text() for name in ("ca", "cert", "key")] == ["CA", "CERT", "KEY"]
    assert stat.S_IMODE(Path(settings["tls"]["key"]).stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("credential", "said"),
    [
        ("hello", "begins with remora-join-1:"),
        ("remora-join-1:abc", "copy the whole line"),
        (CREDENTIAL.encode()[:-20], "copy the whole line"),
        (replace(CREDENTIAL, queue_url="redis://queue.test").encode(), "use rediss://"),
    ],
)
def test_unusable_credentials_write_nothing(
    tmp_path: Path, credential: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "credential"
    file.write_text(credential)
    assert main(["join", "--home", str(tmp_path / "home"), "--credential", str(file)]) == 1
    assert said in capsys.readouterr().err
    assert not (tmp_path / "home").exists()


def test_install_puts_file_settings_and_unit_in_their_places(tmp_path: Path, shop: Shop) -> None:
    (tmp_path / "credential").write_text(CREDENTIAL.encode())
    places = ["--home", str(tmp_path / "home"), "--root", str(tmp_path / "root"), "--units", str(tmp_path / "units")]
    file = shop.offer("0.1.0") / "remora-agent-x86_64.pex"
    words = ["install", *places, "--file", str(file), "--credential", str(tmp_path / "credential"), "--no-start"]
    assert main(words) == 0
    unit = (tmp_path / "units" / "remora-agent.service").read_text()
    assert f"ExecStart={tmp_path}/root/current run --home {tmp_path}/home\n" in unit
    assert "KillMode=process\n" in unit and "Restart=always\n" in unit
    assert "@" not in unit
    assert Releases(tmp_path / "root").trust().keys == CREDENTIAL.release_keys
    assert main(words) == 0


def test_the_unit_of_the_usual_places_owns_its_folders() -> None:
    unit = Service(Path("/opt/remora-agent"), HOME).text()
    assert "StateDirectory=remora-agent\n" in unit
    assert "Environment=PEX_ROOT=/var/cache/remora-agent\n" in unit


def test_status_before_and_after_joining(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home = tmp_path / "home"
    words = ["status", "--home", str(home), "--root", str(tmp_path / "root")]
    assert main(words) == 1
    assert "`remora-agent join`" in capsys.readouterr().err
    join(tmp_path, CREDENTIAL)
    (home / "identity").mkdir()
    (home / "identity" / "worker.json").write_text(
        json.dumps({"worker": "w", "installation": "i", "queue_password": "s"})
    )
    capsys.readouterr()
    assert main(words) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["running"], shown["joined"], shown["worker"], shown["group"]) == (False, True, "w", "here")
    assert "s" not in shown.values()
