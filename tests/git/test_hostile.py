"""Addresses and repositories that are made to harm: N28, N2A, N30 to N36; and what is cut at its cap."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from controlplane.git.access import Credentials
from controlplane.git.address import parse_remote
from controlplane.git.command import CONFIGURATION, ENVIRONMENT, Caps, run_git
from controlplane.git.errors import GitError
from controlplane.git.mirror import Mirror
from controlplane.net.reach import Reach
from fixtures.git_server import ENVIRONMENT as TEST_ENVIRONMENT
from fixtures.git_server import HttpsGit, Repository, git
from fixtures.web import YAML, World
from git.rig import FILES, Rig
from worker_bootstrap.protocol.reach import parse_networks

LOOPBACK = parse_networks(["127.0.0.0/8"])
BAD_ADDRESSES = (
    "ext::sh -c 'touch /tmp/pwned'",
    "ext::sh",
    "fd::17",
    "file:///etc",
    "file:///tmp/x.git",
    "/etc",
    "../x",
    "./x.git",
    "C:/x",
    "--upload-pack=touch /tmp/x",
    "-oProxyCommand=x",
    "ssh://-oProxyCommand=x/y",
    "ssh://git@-oProxyCommand=x/y",
    "ssh://-l@host.example/y",
    "git@-host:x",
    "git@host.example:-x",
    "git://host.example/x.git",
    "http://host.example/x.git",
    "ftp://host.example/x.git",
    "https://user:password@host.example/x.git",
    "https://token@host.example/x.git",
    "ssh://git:password@host.example/x.git",
    "https://host.example",
    "https://host.example/",
    "https://host.example/x.git\n[core]",
    "https://host.example/../x",
    "https://host.example/a b",
    "https://host.example/x?y=$(id)",
    "https://host.example:0x50/x",
    "https://host_ü.example/x",
    "https://2130706433/x",
    "transport::https://host.example/x",
    "",
)


@pytest.mark.security("N28")
def test_n28_addresses_that_are_no_repository_are_refused(rig: Rig) -> None:
    for url in BAD_ADDRESSES:
        answer = rig.ann.post(rig.settings_url, json={"url": url})
        assert answer.status_code == 400 and set(answer.json) == {"url"}, (url, answer.text)
    assert rig.ann.get(rig.settings_url).status_code == 404
    assert not rig.home.exists()


@pytest.mark.security("N28")
def test_n28_a_refused_address_does_not_replace_a_good_one(rig: Rig) -> None:
    rig.connect("https://git.example/code.git")
    assert rig.ann.call("PUT", rig.settings_url, json={"url": "file:///etc"}).status_code == 400
    assert rig.shown()["url"] == "https://git.example/code.git"


@pytest.mark.security("N28")
@pytest.mark.parametrize("protocol", ["file", "ext", "git", "http"])
def test_n28_git_itself_speaks_no_other_protocol(tmp_path: Path, protocol: str) -> None:
    """Were an address to slip through, the command would refuse it all the same."""
    source = Repository(tmp_path / "source.git")
    source.commit(FILES)
    url = {"ext": "ext::touch pwned", "file": f"file://{source.folder}"}.get(protocol, f"{protocol}://127.0.0.1:1/x")
    with pytest.raises(GitError):
        run_git(["clone", "--quiet", "--", url, "made"], Caps(20, tmp_path, 10**8), home=tmp_path)
    assert not (tmp_path / "pwned").exists() and not (tmp_path / "made").exists()


@pytest.mark.security("N28")
def test_n28_options_of_the_machine_and_hooks_are_not_read(
    rig: Rig, repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository.commit(FILES)
    evil = tmp_path / "home"
    (evil / "hooks").mkdir(parents=True)
    hook = evil / "hooks" / "reference-transaction"
    hook.write_text(f"#!/bin/sh\ntouch {tmp_path}/pwned\n")
    hook.chmod(0o755)
    (evil / ".gitconfig").write_text(
        f'[core]\n\thooksPath = {evil}/hooks\n[url "https://elsewhere.example/"]\n\tinsteadOf = https://localhost\n'
    )
    for name in ("HOME", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(name, str(evil))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(evil / ".gitconfig"))
    monkeypatch.setenv("GIT_SSH_COMMAND", f"touch {tmp_path}/pwned")
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:1")
    rig.connect(rig.address(repository))
    assert rig.fetched() == {"main": repository.head("main")}
    mirror = rig.home / rig.shown()["id"] / "mirror.git" / "hooks"
    mirror.mkdir(exist_ok=True)
    (mirror / "reference-transaction").symlink_to(hook)
    newer = repository.commit({**FILES, "a": b""})
    assert rig.fetched() == {"main": newer}
    assert not (tmp_path / "pwned").exists()


@pytest.mark.security("N28")
def test_n28_what_every_command_is_started_with() -> None:
    assert ENVIRONMENT["GIT_ALLOW_PROTOCOL"] == "https:ssh" and ENVIRONMENT["GIT_TERMINAL_PROMPT"] == "0"
    assert ENVIRONMENT["GIT_CONFIG_NOSYSTEM"] == "1" and ENVIRONMENT["GIT_CONFIG_GLOBAL"] == "/dev/null"
    assert CONFIGURATION["core.hooksPath"] == "/dev/null" and CONFIGURATION["submodule.recurse"] == "false"


@pytest.mark.security("N28")
def test_n28_the_token_stands_in_no_argument_and_no_environment(rig: Rig, servers: HttpsGit) -> None:
    repository = Repository(servers.root / "private" / "watched.git")
    repository.commit(FILES)
    looked = 0

    def look() -> None:
        nonlocal looked
        for process in Path("/proc").glob("[0-9]*"):
            try:
                words = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
            except OSError:
                continue
            looked += b"mirror.git" in words
            assert servers.token.encode() not in words

    mirror = Mirror(rig.world.services.settings, "watched", look)
    with mirror.locked():
        credentials = Credentials("git", token=servers.token)
        mirror.fetch(parse_remote(rig.address(repository)), credentials, Reach(LOOPBACK_6), lambda _: None)
        assert [ref.name for ref in mirror.refs()] == ["main"]
    assert looked and not any(servers.token.encode() in path.read_bytes() for path in files_below(mirror.folder))


LOOPBACK_6 = parse_networks(["127.0.0.0/8", "::1"])


def files_below(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


# ---- N2A -----------------------------------------------------------------------------------------------
@pytest.mark.security("N2A")
def test_n2a_a_million_files_are_refused(rig: Rig, repository: Repository) -> None:
    """A hundred names for one tree of a hundred, for one of a hundred: small to store, large to unpack."""
    tree = repository.tree([f"100644 blob {repository.blob(b'')}\tf{n}" for n in range(100)])
    for _ in range(2):
        lines = "\n".join(f"040000 tree {tree}\td{n}" for n in range(100))
        tree = git(repository.folder, "mktree", stdin=lines.encode())
    commit = repository.commit_tree(tree)
    rig.connect(rig.address(repository))
    rig.fetched()
    assert "more than 100000 entries" in rig.why_not("main")
    assert rig.row(commit).archive_key == "" and rig.leftovers() == []


@pytest.mark.security("N2A")
def test_n2a_large_files_are_counted_before_they_are_unpacked(rig: Rig, repository: Repository) -> None:
    zeros = repository.blob(bytes(60_000_000))
    repository.commit_tree(repository.tree([f"100644 blob {zeros}\tf{n}" for n in range(100)]))
    rig.connect(rig.address(repository))
    rig.fetched()
    assert "5000000000 bytes" in rig.why_not("main")


@pytest.mark.security("N2A")
def test_n2a_an_archive_that_does_not_pack_well_is_cut(rig: Rig, repository: Repository) -> None:
    repository.commit({**FILES, "noise": os.urandom(4_000_000)})
    rig.connect(rig.address(repository))
    rig.fetched()
    assert "3000000 bytes" in rig.why_not("main")
    assert rig.leftovers() == []


@pytest.mark.security("N2A")
def test_n2a_links_that_leave_the_code_are_refused(rig: Rig, repository: Repository) -> None:
    for target in (b"/etc/passwd", b"../../x", b"lib/../../x"):
        entries = [f"100644 blob {repository.blob(YAML)}\tvalohai.yaml", f"120000 blob {repository.blob(target)}\tlink"]
        repository.commit_tree(repository.tree(entries), f"b{len(target)}")
    rig.connect(rig.address(repository))
    for name in rig.fetched():
        assert "has a link that leaves it" in rig.why_not(name)


@pytest.mark.security("N2A")
def test_n2a_links_that_stay_inside_and_names_that_differ_in_case_are_kept(rig: Rig, repository: Repository) -> None:
    blobs = {name: repository.blob(name.encode()) for name in ("Readme", "README", "lib/a.py")}
    entries = [f"100644 blob {blob}\t{name}" for name, blob in blobs.items()]
    entries += [f"100644 blob {repository.blob(YAML)}\tvalohai.yaml", f"120000 blob {repository.blob(b'lib')}\tlink"]
    commit = repository.commit_tree(repository.tree(entries))
    rig.connect(rig.address(repository))
    rig.fetched()
    assert rig.ran("main") == commit
    assert set(rig.archive(commit)) == {"Readme", "README", "lib/a.py", "valohai.yaml"}


@pytest.mark.security("N2A")
@pytest.mark.parametrize("name", [".git", ".GIT", ".."])
def test_n2a_trees_with_git_inside_are_refused_at_the_fetch(rig: Rig, repository: Repository, name: str) -> None:
    inner = bytes.fromhex(repository.tree([f"100644 blob {repository.blob(b'x')}\tconfig"]))
    raw = f"40000 {name}\0".encode() + inner + b"100644 valohai.yaml\0" + bytes.fromhex(repository.blob(YAML))
    made = subprocess.run(
        ["git", "hash-object", "-t", "tree", "-w", "--literally", "--stdin"],
        cwd=repository.folder, env=TEST_ENVIRONMENT, input=raw, capture_output=True, check=True,
    )  # fmt: skip
    repository.commit_tree(made.stdout.decode().strip())
    rig.connect(rig.address(repository))
    assert rig.refused()[1] == "git_bad_objects"


@pytest.mark.security("N2A")
def test_n2a_a_repository_is_cut_at_its_cap(rig: Rig, repository: Repository) -> None:
    repository.commit({**FILES, "noise": os.urandom(8_000_000)})
    object.__setattr__(rig.world.services.settings, "git_repository_bytes", 2_000_000)
    rig.connect(rig.address(repository))
    sentence, reason = rig.refused()
    assert reason == "git_too_large" and "larger than 2000000 bytes" in sentence
    left = sum(path.lstat().st_size for path in files_below(rig.home))
    assert left < 100_000 and rig.leftovers() == []


@pytest.mark.security("N2A")
def test_n2a_a_server_that_says_nothing_is_left(rig: Rig, servers: HttpsGit) -> None:
    object.__setattr__(rig.world.services.settings, "git_timeout", 1.0)
    rig.connect(servers.url("slow/x"))
    sentence, reason = rig.refused()
    assert reason == "git_too_slow" and "longer than 1 s" in sentence
    assert rig.leftovers() == []


@pytest.mark.security("N2A")
def test_n2a_what_was_started_ends_with_it(tmp_path: Path, servers: HttpsGit) -> None:
    """git-remote-https is a child of a child."""
    with pytest.raises(GitError):
        run_git(
            ["ls-remote", "--", servers.url("slow/y")], Caps(1.0, tmp_path, 10**6), home=tmp_path,
            configuration={"http.sslCAInfo": str(servers.authority.file)},
        )  # fmt: skip
    until = time.monotonic() + 10
    while any(b"slow/y" in words for words in command_lines()) and time.monotonic() < until:
        time.sleep(0.02)
    assert not any(b"slow/y" in words for words in command_lines())


def command_lines() -> Iterator[bytes]:
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            yield (process / "cmdline").read_bytes()


# ---- submodules and LFS --------------------------------------------------------------------------------
def test_submodules_are_left_out(rig: Rig, repository: Repository, servers: HttpsGit) -> None:
    other = Repository(servers.root / "never-asked.git")
    target = other.commit({"a": b""})
    modules = f'[submodule "sub"]\n\tpath = sub\n\turl = {servers.url("never-asked")}\n'.encode()
    entries = [
        f"100644 blob {repository.blob(YAML)}\tvalohai.yaml",
        f"100644 blob {repository.blob(modules)}\t.gitmodules",
        f"160000 commit {target}\tsub",
    ]
    commit = repository.commit_tree(repository.tree(entries))
    rig.connect(rig.address(repository))
    rig.fetched()
    assert rig.ran("main") == commit
    assert set(rig.archive(commit)) == {"valohai.yaml", ".gitmodules"}
    assert not any("never-asked" in path for path in servers.asked)


def test_lfs_files_are_their_pointers(rig: Rig, repository: Repository) -> None:
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"a" * 64 + b"\nsize 12345\n"
    attributes = b"*.bin filter=lfs diff=lfs merge=lfs -text\n"
    commit = repository.commit({**FILES, ".gitattributes": attributes, "model.bin": pointer})
    rig.connect(rig.address(repository))
    rig.fetched()
    assert rig.ran("main") == commit
    assert rig.archive(commit)["model.bin"] == pointer


# ---- N30 to N36 ----------------------------------------------------------------------------------------
HOSTS_INSIDE = ("127.0.0.1", "10.0.0.1", "169.254.169.254", "[::1]", "[::ffff:7f00:1]", "localhost")


@pytest.mark.security("N30")
def test_n30_hosts_inside_are_refused_unconnected(rig: Rig, servers: HttpsGit) -> None:
    object.__setattr__(rig.world.services.settings, "allowed_networks", "")
    asked = len(servers.asked)
    rig.connect("https://git.example/x.git")
    for host in HOSTS_INSIDE:
        for scheme in ("https", "ssh"):
            rig.change(url=f"{scheme}://{host}:{servers.port}/x.git")
            sentence, reason = rig.refused()
            assert reason == "git_address_refused", (host, scheme, sentence)
            assert "no address that may be used from here" in sentence
    assert len(servers.asked) == asked


@pytest.mark.security("N31")
def test_n31_redirects_are_not_followed(rig: Rig, servers: HttpsGit, repository: Repository) -> None:
    repository.commit(FILES)
    asked = len(servers.asked)
    rig.connect(rig.address(repository).replace(str(servers.port), f"{servers.port}/moved"))
    assert rig.refused()[1] == "git_redirected"
    assert all(path.startswith("/moved/") for path in servers.asked[asked:])


@pytest.mark.security("N32")
def test_n32_git_connects_to_the_vetted_address(rig: Rig, servers: HttpsGit, repository: Repository) -> None:
    """The name is known to our resolver only, which would say another thing if it were asked again."""
    repository.commit(FILES)
    asked: list[str] = []

    def resolver(host: str, port: int) -> list[str]:
        asked.append(host)
        return ["127.0.0.1"] if len(asked) == 1 else ["169.254.169.254"]

    mirror = Mirror(rig.world.services.settings, "vetted")
    remote = parse_remote(rig.address(repository).replace("localhost", "flips.example"))
    with mirror.locked():
        mirror.fetch(remote, Credentials(), Reach(LOOPBACK, resolver), lambda _: None)
        assert [ref.name for ref in mirror.refs()] == ["main"]
        with pytest.raises(GitError) as refused:
            mirror.fetch(remote, Credentials(), Reach(LOOPBACK, resolver), lambda _: None)
    assert refused.value.code == "git_address_refused" and asked == ["flips.example"] * 2


@pytest.mark.security("N36")
def test_n36_a_refused_fetch_does_not_tell_open_from_closed(rig: Rig, servers: HttpsGit) -> None:
    words = set()
    object.__setattr__(rig.world.services.settings, "allowed_networks", "")
    rig.connect(f"https://127.0.0.1:{servers.port}/x.git")
    words.add(rig.refused()[0])
    rig.change(url="https://127.0.0.1:1/x.git")
    words.add(rig.refused()[0])
    assert len(words) == 1


@pytest.mark.security("N36")
def test_n36_no_words_of_the_other_side_are_shown(world: World, rig: Rig) -> None:
    """A closed port and one that speaks no TLS read the same."""
    words = set()
    rig.connect("https://127.0.0.1:1/x.git")
    words.add(rig.refused()[0])
    assert words == {"The repository's server gave no whole answer. Look at the repository's address, and fetch again."}
