"""Repositories by ssh: deploy keys, and host keys that are pinned per project (N2B)."""

from __future__ import annotations

import stat
import subprocess
import threading
from pathlib import Path

import pytest

from controlplane.git.access import Credentials
from controlplane.git.address import parse_remote
from controlplane.git.keys import fingerprint, new_deploy_key
from controlplane.git.mirror import Mirror
from controlplane.net.reach import Reach
from fixtures.git_server import Repository, SshGit
from git.rig import FILES, Rig
from worker_bootstrap.protocol.reach import parse_networks

pytestmark = pytest.mark.needs("sshd")
LOOPBACK = parse_networks(["127.0.0.0/8"])


@pytest.fixture
def by_ssh(tmp_path: Path) -> Repository:
    made = Repository(tmp_path / "shown" / "code.git")
    made.commit(FILES)
    return made


def accept(rig: Rig) -> None:
    offered = rig.shown()["offered_host_key"]["fingerprint"]
    answer = rig.ann.post(f"{rig.settings_url}host-key/", json={"fingerprint": offered})
    assert answer.status_code == 200, answer.text


@pytest.mark.security("N2B")
def test_a_deploy_key_is_made_and_the_host_key_must_be_accepted(rig: Rig, ssh: SshGit, by_ssh: Repository) -> None:
    shown = rig.connect(ssh.url(by_ssh))
    assert shown["auth"] == "key" and shown["public_key"].startswith("ssh-ed25519 AAAA")
    assert "PRIVATE" not in str(shown)
    ssh.allow(shown["public_key"])
    sentence, reason = rig.refused()
    assert reason == "git_host_key_unknown" and fingerprint(ssh.host_key) in sentence
    accept(rig)
    assert rig.fetched() == {"main": by_ssh.head("main")}
    assert rig.ran("main") == by_ssh.head("main")
    assert rig.shown()["host_key"]["fingerprint"] == fingerprint(ssh.host_key)
    assert rig.leftovers() == []


def test_a_given_key_and_a_given_host_key_need_no_question(rig: Rig, ssh: SshGit, by_ssh: Repository) -> None:
    key = new_deploy_key("given")
    ssh.allow(key.public)
    line = f"[localhost]:{ssh.port} {ssh.host_key}"
    shown = rig.connect(ssh.url(by_ssh), private_key=key.private, host_key=line)
    assert shown["public_key"].split()[1] == key.public.split()[1]
    assert rig.fetched() == {"main": by_ssh.head("main")}


@pytest.mark.parametrize(
    ("kind", "options"), [("rsa", ["-b", "2048"]), ("ecdsa", []), ("rsa", ["-b", "2048", "-m", "PEM"])]
)
def test_other_kinds_of_keys_are_taken(
    rig: Rig, ssh: SshGit, by_ssh: Repository, tmp_path: Path, kind: str, options: list[str]
) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", kind, *options, "-N", "", "-f", str(tmp_path / "id")], check=True)
    shown = rig.connect(ssh.url(by_ssh), private_key=(tmp_path / "id").read_text(), host_key=ssh.host_key)
    ssh.allow(shown["public_key"])
    assert rig.fetched() == {"main": by_ssh.head("main")}


def test_a_key_that_the_server_does_not_know_is_told(rig: Rig, ssh: SshGit, by_ssh: Repository) -> None:
    rig.connect(ssh.url(by_ssh), host_key=ssh.host_key)
    sentence, reason = rig.refused()
    assert reason == "git_auth_failed" and "deploy key" in sentence
    assert rig.leftovers() == []


def test_another_deploy_key_replaces_the_first(rig: Rig, ssh: SshGit, by_ssh: Repository) -> None:
    first = rig.connect(ssh.url(by_ssh), host_key=ssh.host_key)["public_key"]
    second = rig.ann.post(f"{rig.settings_url}key/").json["public_key"]
    assert first != second
    ssh.allow(first)
    assert rig.refused()[1] == "git_auth_failed"
    ssh.allow(second)
    assert rig.fetched() == {"main": by_ssh.head("main")}


@pytest.mark.security("N2B")
def test_n2b_an_unknown_host_key_gets_no_key_of_ours(rig: Rig, ssh: SshGit, by_ssh: Repository) -> None:
    ssh.allow(rig.connect(ssh.url(by_ssh))["public_key"])
    rig.refused()
    assert "Accepted publickey" not in (ssh.folder / "log").read_text()


@pytest.mark.security("N2B")
def test_n2b_a_changed_host_key_is_refused_until_it_is_accepted(rig: Rig, ssh: SshGit, by_ssh: Repository) -> None:
    ssh.allow(rig.connect(ssh.url(by_ssh), host_key=ssh.host_key)["public_key"])
    before = fingerprint(ssh.host_key)
    rig.fetched()
    ssh.stop()
    ssh.new_host_key()
    ssh.start()
    sentence, reason = rig.refused()
    assert reason == "git_host_key_changed"
    assert before in sentence and fingerprint(ssh.host_key) in sentence
    assert rig.refused()[1] == "git_host_key_changed"
    accept(rig)
    rig.fetched()


@pytest.mark.security("N2B")
def test_n2b_only_the_key_that_was_shown_can_be_accepted(rig: Rig, ssh: SshGit, by_ssh: Repository) -> None:
    rig.connect(ssh.url(by_ssh))
    rig.refused()
    for wrong in ("", "SHA256:x", fingerprint(new_deploy_key("other").public)):
        answer = rig.ann.post(f"{rig.settings_url}host-key/", json={"fingerprint": wrong})
        assert answer.status_code == 400 and "no key with this fingerprint" in answer.text


@pytest.mark.security("N2B")
def test_n2b_a_host_key_belongs_to_its_project_and_server(rig: Rig, ssh: SshGit, by_ssh: Repository) -> None:
    rig.connect(ssh.url(by_ssh), host_key=ssh.host_key)
    changed = rig.change(url="ssh://git@other.example/code.git")
    assert changed["host_key"] is None
    eve = rig.world.client("eve")
    url = f"/api/v1/projects/{rig.world.foreign}/repository/"
    assert eve.post(url, json={"url": ssh.url(by_ssh)}).json["host_key"] is None


@pytest.mark.security("N2B")
def test_n2b_the_private_key_is_0600_while_it_is_needed_and_gone_afterwards(
    rig: Rig, ssh: SshGit, by_ssh: Repository
) -> None:
    key = new_deploy_key("watched")
    ssh.allow(key.public)
    seen: dict[str, int] = {}

    def look() -> None:
        for path in mirror.folder.glob("tmp-*/*"):
            seen[path.name] = stat.S_IMODE(path.stat().st_mode)
        for process in Path("/proc").glob("[0-9]*"):
            try:
                words = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
            except OSError:
                continue
            assert key.private.splitlines()[1].encode() not in words

    mirror = Mirror(rig.world.services.settings, "watched", look)
    remote = parse_remote(ssh.url(by_ssh))
    with mirror.locked():
        mirror.fetch(
            remote, Credentials(private_key=key.private, host_key=ssh.host_key), Reach(LOOPBACK), lambda _: None
        )
        assert [ref.name for ref in mirror.refs()] == ["main"]
    assert seen == {"key": 0o600, "known_hosts": 0o600}
    assert list(mirror.folder.glob("tmp-*")) == []


@pytest.mark.security("N2B")
def test_n2b_what_a_killed_process_left_is_removed_by_the_next(rig: Rig) -> None:
    mirror = Mirror(rig.world.services.settings, "swept")
    (mirror.folder / "tmp-left").mkdir(parents=True)
    (mirror.folder / "tmp-left" / "key").write_text("secret")
    with mirror.locked():
        assert list(mirror.folder.glob("tmp-*")) == []


@pytest.mark.security("N32")
def test_n32_ssh_connects_to_the_vetted_address(rig: Rig, ssh: SshGit, by_ssh: Repository) -> None:
    """The name is known to our resolver only, and it is asked once."""
    asked: list[str] = []

    def resolver(host: str, port: int) -> list[str]:
        asked.append(host)
        return ["127.0.0.1"] if len(asked) == 1 else ["169.254.169.254"]

    key = new_deploy_key("vetted")
    ssh.allow(key.public)
    mirror = Mirror(rig.world.services.settings, "vetted")
    remote = parse_remote(ssh.url(by_ssh, "flips.example"))
    with mirror.locked():
        credentials = Credentials(private_key=key.private, host_key=ssh.host_key)
        mirror.fetch(remote, credentials, Reach(LOOPBACK, resolver), lambda _: None)
        assert [ref.name for ref in mirror.refs()] == ["main"]
    assert asked == ["flips.example"]


def test_one_fetch_at_a_time_works_in_a_repository(rig: Rig) -> None:
    first, second = (Mirror(rig.world.services.settings, "shared") for _ in range(2))
    entered: list[str] = []

    def enter() -> None:
        with second.locked():
            entered.append("second")

    with first.locked():
        thread = threading.Thread(target=enter)
        thread.start()
        thread.join(0.5)
        entered.append("first")
    thread.join(10)
    assert entered == ["first", "second"]
