"""Addresses of repositories, keys and the meaning of git's words: pure rules."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.errors import ValidationError
from controlplane.git.address import parse_remote
from controlplane.git.errors import GitError, meaning
from controlplane.git.keys import fingerprint, new_deploy_key, read_deploy_key, read_host_key, strongest
from controlplane.reasons import REASONS


@pytest.mark.parametrize(
    ("text", "url", "place"),
    [
        ("https://github.com/a/b.git", "https://github.com/a/b.git", ("https", "github.com", 443)),
        (" https://GitHub.com:8443/a/b ", "https://github.com:8443/a/b", ("https", "github.com", 8443)),
        ("git@github.com:a/b.git", "git@github.com:a/b.git", ("ssh", "github.com", 22)),
        ("github.com:a/b.git", "git@github.com:a/b.git", ("ssh", "github.com", 22)),
        ("ssh://git@host.example:2222/a/b", "ssh://git@host.example:2222/a/b", ("ssh", "host.example", 2222)),
        ("ssh://host.example/~me/b", "ssh://git@host.example/~me/b", ("ssh", "host.example", 22)),
        ("https://[2a00::1]/a", "https://[2a00::1]/a", ("https", "2a00::1", 443)),
    ],
)
def test_addresses_that_are_taken(text: str, url: str, place: tuple[str, str, int]) -> None:
    remote = parse_remote(text)
    assert (remote.url, remote.place) == (url, place)
    assert parse_remote(remote.url) == remote


PIECES = st.sampled_from(
    [
        "https://",
        "ssh://",
        "git@",
        ":",
        "/",
        "@",
        "-",
        "..",
        "host.example",
        "a",
        "::",
        "ext",
        " ",
        "\n",
        "%",
        "\\",
        "[",
        "]",
    ]
)


@pytest.mark.security("N28")
@given(st.one_of(st.text(max_size=60), st.lists(PIECES, max_size=8).map("".join)))
def test_whatever_is_taken_is_safe_to_hand_to_git(text: str) -> None:
    try:
        remote = parse_remote(text)
    except ValidationError as error:
        assert set(error.fields) == {"url"}
        return
    assert remote.scheme in ("https", "ssh") and not remote.url.startswith("-") and "::" not in remote.url.split("[")[0]
    assert remote.url.isascii() and remote.url.isprintable() and " " not in remote.url
    assert not remote.host.startswith("-")
    assert remote.scheme == "ssh" or "@" not in remote.url.split("/")[2]


def test_a_deploy_key_is_ed25519_and_reads_back() -> None:
    key = new_deploy_key("remora-x")
    assert key.public.startswith("ssh-ed25519 AAAA") and key.public.endswith(" remora-x")
    assert read_deploy_key(key.private, "remora-x").public == key.public


@pytest.mark.parametrize(
    "text", ["", "x", "-----BEGIN OPENSSH PRIVATE KEY-----\nx\n-----END OPENSSH PRIVATE KEY-----", "a" * 30_000]
)
def test_what_is_no_private_key_is_refused(text: str) -> None:
    with pytest.raises(ValidationError, match="This is no private key"):
        read_deploy_key(text, "x")


ED25519 = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl"


def test_host_keys_are_read_from_any_usual_line() -> None:
    for line in (ED25519, f"github.com {ED25519}", f"[h]:22 {ED25519} comment", f"@x h {ED25519}"):
        assert read_host_key(line) == ED25519
    assert fingerprint(ED25519) == "SHA256:+DiY3wvvV6TuJJhbpZisF/zLDA0zPMSvHdkr4UvCOqU"


@pytest.mark.parametrize("text", ["", "ssh-ed25519", "ssh-ed25519 AAAA", "ssh-rsa " + ED25519.split()[1], "x " * 50])
def test_what_is_no_host_key_is_refused(text: str) -> None:
    with pytest.raises(ValidationError):
        read_host_key(text)


def test_of_several_host_keys_the_strongest_is_taken() -> None:
    rsa = "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAAwEAAQ=="
    assert strongest(f"# comment\nh {rsa}\nh {ED25519}\n") == ED25519
    assert strongest(f"h {rsa}") == rsa and strongest("# nothing") == ""


@given(st.text(max_size=200))
def test_every_meaning_is_a_reason_with_a_sentence(words: str) -> None:
    assert meaning(words) in REASONS


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("fatal: Authentication failed for 'https://h/x'", "git_auth_failed"),
        ("git@h: Permission denied (publickey).\nfatal: Could not read from remote repository.", "git_auth_failed"),
        ("Host key verification failed.\nfatal: Could not read from remote repository.", "git_host_key_changed"),
        ("fatal: unable to access 'https://h/': SSL certificate problem: self-signed certificate", "git_tls"),
        ("fatal: unable to access 'https://h/': Failed to connect", "git_unreachable"),
        ("fatal: repository 'https://h/x' not found", "git_not_found"),
        ("error: object 123: hasDotgit: contains '.git'\nfatal: fsck error in packed object", "git_bad_objects"),
        ("something new", "git_failed"),
    ],
)
def test_what_git_says_has_a_meaning(words: str, code: str) -> None:
    assert meaning(words) == code
    assert str(GitError(code, host="h", bytes=1, seconds=1, fingerprint="f", known="k")).endswith(".")
