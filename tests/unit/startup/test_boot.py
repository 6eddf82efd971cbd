"""What runs on a new machine: steps, signatures, releases, files of the queue, certificates, what is around."""

from __future__ import annotations

import hashlib
import json
import ssl
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from worker_bootstrap import credential
from worker_bootstrap.protocol import crypto, names
from worker_bootstrap.release import NAME, Manifest, ReleaseFile, sign_manifest
from worker_bootstrap.startup.boot import (
    certificates,
    machine,
    master,
    nvidia,
    queue_files,
    release,
    steps,
    surroundings,
)
from worker_bootstrap.startup.boot.sigv4 import Call, Key, signed_headers
from worker_bootstrap.startup.boot.steps import StepError


# ---- steps -----------------------------------------------------------------------------------------
def test_a_step_is_tried_again_after_growing_pauses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    slept: list[float] = []
    monkeypatch.setattr(steps.time, "sleep", slept.append)
    monkeypatch.setattr(steps, "WHY", tmp_path / "why")
    failures = iter([StepError("No way\nout."), OSError("disk"), KeyError("a"), StepError("b")])
    done: list[str] = []

    def first() -> None:
        for error in failures:
            raise error
        done.append("first")

    steps.persevere([("First", first), ("Second", lambda: done.append("second"))], 1, 4)
    assert (slept, done) == ([1, 2, 4, 4], ["first", "second"])
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "First: No way out. Next try in 1 s."
    assert said[2] == "First: a fault of the start-up script (KeyError: 'a'). Next try in 4 s."
    assert said[-2:] == ["First: done.", "Second: done."]
    assert (tmp_path / "why").read_text() == "The last that was done: Second."


def test_a_command_that_fails_says_its_last_words() -> None:
    with pytest.raises(StepError, match="`sh -c echo .*` failed: wrong"):
        steps.command("sh", "-c", "echo wrong >&2; exit 3")
    with pytest.raises(StepError, match="`no-such-command` is not on this machine's image"):
        steps.command("no-such-command")
    with pytest.raises(StepError, match="did not end within 0.1 s"):
        steps.command("sleep", "9", seconds=0.1)
    assert steps.command("cat", given="by standard input") == "by standard input"


def test_files_are_private_from_their_first_byte(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file"
    assert machine.write(path, "one", 0o600)
    assert path.stat().st_mode & 0o777 == 0o600
    assert not machine.write(path, "one", 0o640), "it stood there"
    assert path.stat().st_mode & 0o777 == 0o640
    assert [entry.name for entry in path.parent.iterdir()] == ["file"]


# ---- signatures ------------------------------------------------------------------------------------
def test_the_signature_of_awss_own_example() -> None:
    """ "Example: GET Object" in AWS's reference of S3's API."""
    key = Key("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
    url = "https://examplebucket.s3.amazonaws.com/test.txt"
    call = Call("s3", "us-east-1", "GET", url, {"Range": "bytes=0-9"})
    sent = signed_headers(call, key, datetime(2013, 5, 24, tzinfo=UTC))
    assert sent["authorization"] == (
        "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, "
        "SignedHeaders=host;range;x-amz-content-sha256;x-amz-date, "
        "Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"
    )
    assert "wJalr" not in repr(key)


# ---- releases --------------------------------------------------------------------------------------
KEY, STRANGER = crypto.SigningKey.generate(), crypto.SigningKey.generate()
NOW = datetime.now(UTC)
CONTENT = b"the agent's file"
FILE = ReleaseFile("remora-agent-x86_64.pex", hashlib.sha256(CONTENT).hexdigest(), len(CONTENT))
MANIFEST = Manifest(NAME, "1.2.3", "1.0.0", NOW.isoformat(), (NOW + timedelta(days=1)).isoformat(), {"x86_64": FILE})


def fetched(folder: Path, raw: bytes, content: bytes = CONTENT, minimum: str = "", arch: str = "x86_64") -> Path:
    """What `fetch` makes of a bucket with these two objects."""
    objects = {"agent/1/manifest.json": raw, "agent/1/remora-agent-x86_64.pex": content}

    def read(name: str, write: Callable[[bytes], Any], most: int) -> None:
        if len(objects[name]) > most:
            raise StepError("more bytes than are allowed")
        write(objects[name])

    trusted = [crypto.b64(KEY.public)]
    [file] = release.fetch(read, "agent/1/manifest.json", folder / "release", trusted, minimum, {arch: arch})
    return file


def test_a_signed_release_is_taken(tmp_path: Path) -> None:
    path = fetched(tmp_path, sign_manifest(MANIFEST, [STRANGER, KEY]))
    assert path.read_bytes() == CONTENT
    assert path.stat().st_mode & 0o777 == 0o755
    assert (path.parent / "manifest.json").read_bytes() == sign_manifest(MANIFEST, [STRANGER, KEY])


def test_each_part_of_a_release_is_taken_and_a_missing_one_is_named(tmp_path: Path) -> None:
    server = ReleaseFile("remora-server-cp311-x86_64.zip", hashlib.sha256(b"a server").hexdigest(), 8)
    whole = sign_manifest(replace(MANIFEST, files={"x86_64": FILE, "server-cp311-x86_64": server}), [KEY])
    objects = {
        "agent/1/manifest.json": whole,
        "agent/1/remora-agent-x86_64.pex": CONTENT,
        "agent/1/remora-server-cp311-x86_64.zip": b"a server",
    }
    parts = {"x86_64": "x86_64", "server-cp311-x86_64": "the control plane (x86_64, Python 3.11)"}
    trusted, place = [crypto.b64(KEY.public)], ("agent/1/manifest.json", tmp_path / "release")

    def read(name: str, write: Callable[[bytes], Any], most: int) -> None:
        write(objects[name])

    assert [file.read_bytes() for file in release.fetch(read, *place, trusted, "", parts)] == [CONTENT, b"a server"]
    objects["agent/1/manifest.json"] = SIGNED
    with pytest.raises(StepError, match=r"release 1.2.3 has no file for the control plane \(x86_64, Python 3.11\)"):
        release.fetch(read, *place, trusted, "", parts)


# ---- control plane -----------------------------------------------------------------------------------
AROUND = {"proxy": "", "no_proxy": (), "ca_bundle": ""}


def test_the_service_knows_the_load_balancer_and_the_network_around_it() -> None:
    assert master.drop_in(AROUND).splitlines()[:2] == ["[Service]", 'Environment="REMORA_TRUSTED_PROXIES=1"']
    told = master.drop_in({"proxy": "http://proxy:3128", "no_proxy": ("git.acme",), "ca_bundle": "PEM"}).splitlines()
    assert 'Environment="HTTPS_PROXY=http://proxy:3128"' in told
    assert 'Environment="NO_PROXY=localhost,127.0.0.1,169.254.169.254,git.acme"' in told
    assert 'Environment="REMORA_CA_BUNDLE=/etc/ssl/certs/ca-certificates.crt"' in told


def changed(raw: bytes, **parts: Any) -> bytes:
    return json.dumps({**json.loads(raw), **parts}).encode()


SIGNED = sign_manifest(MANIFEST, [KEY])
WRONG = {
    "a stranger's": (sign_manifest(MANIFEST, [STRANGER]), rf"signed by {STRANGER.id}; this machine trusts {KEY.id}"),
    "changed": (
        changed(SIGNED, payload=json.loads(sign_manifest(replace(MANIFEST, version="9.9.9"), [KEY]))["payload"]),
        "was changed after it was signed",
    ),
    "a stranger's with our key's name": (
        changed(SIGNED, signatures=[{"keyid": KEY.id, "sig": crypto.b64(STRANGER.sign(b"x"))}]),
        "was changed after it was signed",
    ),
    "without signatures": (changed(SIGNED, signatures=[]), "signed by nobody"),
    "something else": (changed(SIGNED, payloadType="application/vnd.other"), "not the manifest of a release"),
    "no JSON": (b"<Error/>", "manifest can't be read"),
    "a list": (b"[]", "manifest can't be read"),
    "expired": (
        sign_manifest(replace(MANIFEST, expires=(NOW - timedelta(hours=1)).isoformat()), [KEY]),
        "The release 1.2.3 expired at .*; Sign it anew|The release 1.2.3 expired at ",
    ),
    "below its own minimum": (
        sign_manifest(replace(MANIFEST, minimum_version="1.3.0"), [KEY]),
        "1.2.3 is older than the oldest that is taken here, 1.3.0",
    ),
    "of something else": (sign_manifest(replace(MANIFEST, name="other"), [KEY]), "a release of 'other', not of"),
    "for another machine": (sign_manifest(replace(MANIFEST, files={}), [KEY]), "has no file for x86_64"),
    "leaving its folder": (
        sign_manifest(replace(MANIFEST, files={"x86_64": replace(FILE, name="../../etc/x")}), [KEY]),
        "a file that could leave its folder",
    ),
    "of no version": (sign_manifest(replace(MANIFEST, version="new"), [KEY]), "lacks a field"),
}


@pytest.mark.security("I05")
@pytest.mark.parametrize("name", WRONG)
def test_a_release_is_refused_in_one_sentence(tmp_path: Path, name: str) -> None:
    raw, sentence = WRONG[name]
    with pytest.raises(StepError, match=sentence):
        fetched(tmp_path, raw)
    assert not (tmp_path / "release").exists(), "nothing is fetched before"


def test_an_old_release_and_another_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(StepError, match="1.2.3 is older than the oldest that is taken here, 1.10.0"):
        fetched(tmp_path, SIGNED, minimum="1.10.0")
    with pytest.raises(StepError, match="is not the file that was signed"):
        fetched(tmp_path, SIGNED, b"x" * len(CONTENT))
    with pytest.raises(StepError, match="more bytes"):
        fetched(tmp_path, SIGNED, CONTENT + b"more")


# ---- the queue -------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def authority() -> certificates.Pair:
    return certificates.authority("Remora acme queue")


def state_of(authority: certificates.Pair) -> dict[str, Any]:
    pair = {"certificate": "-----CERT", "key": "-----KEY"}
    made = {"ca": authority.certificate, "clients": {"master": pair, "worker": pair}}
    return queue_files.whole_state(made, ["one", "two"])


@pytest.mark.security("I07")
def test_secrets_that_are_known_stay(authority: certificates.Pair) -> None:
    state = state_of(authority)
    again = queue_files.whole_state(state, ["two", "three"])
    assert again["passwords"] == state["passwords"]
    assert again["join_secrets"].keys() == {"one", "two", "three"}
    assert {slug: again["join_secrets"][slug] for slug in ("one", "two")} == state["join_secrets"]
    made = [*again["passwords"].values(), *again["join_secrets"].values()]
    assert len(set(made)) == 5
    assert min(map(len, made)) >= 43, "256 bits"


def test_groups_are_read_from_a_list() -> None:
    assert queue_files.groups_in('{"m6i-xlarge": "remora-lab-join-m6i-xlarge-1"}') == {
        "m6i-xlarge": "remora-lab-join-m6i-xlarge-1"
    }
    for text in ("", "nonsense", "[]", '{"a": 1}', '{"a": ""}', '["a"]'):
        with pytest.raises(ValueError):
            queue_files.groups_in(text)


def test_the_files_of_the_queue_hold_hashes_and_one_port(authority: certificates.Pair) -> None:
    state = state_of(authority)
    users = queue_files.users(state)
    assert users.splitlines()[0] == "user default reset off"
    assert all(text not in users for text in state["passwords"].values())
    assert hashlib.sha256(state["passwords"]["master"].encode()).hexdigest() in users
    wanted = names.join_acl(crypto.password_hash(state["passwords"]["join"]))
    assert f"user join {' '.join(wanted)}\n" in users
    config = queue_files.config(7379, 5).splitlines()
    assert {"port 0", "tls-port 7379", "tls-auth-clients yes", "maxmemory 5"} <= set(config)


def test_what_control_plane_and_groups_get(authority: certificates.Pair) -> None:
    state = state_of(authority)
    found = json.loads(queue_files.master_secret(state))
    assert found.keys() == {"password", "ca", "certificate", "key", "join_secret.one", "join_secret.two"}
    line = credential.decode(queue_files.join_credential(state, "two", "rediss://10.0.0.1:7379", ["k"]))
    assert (line.group, line.join_secret) == ("two", state["join_secrets"]["two"])
    assert (line.ca, line.certificate, line.release_keys) == (authority.certificate, "-----CERT", ["k"])
    assert "ca_key" not in json.dumps([found, line.encode()])


@pytest.mark.security("I06")
def test_certificates_are_for_what_they_are_for(authority: certificates.Pair) -> None:
    server = certificates.server(authority, ["10.0.0.1", "queue.example", "fd00::1"])
    shown = x509.load_pem_x509_certificate(server.certificate.encode())
    names_in_it = shown.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [str(one.value) for one in names_in_it] == ["10.0.0.1", "queue.example", "fd00::1"]
    client = x509.load_pem_x509_certificate(certificates.client(authority, "worker").certificate.encode())
    root = x509.load_pem_x509_certificate(authority.certificate.encode())
    for made, usage in ((shown, ExtendedKeyUsageOID.SERVER_AUTH), (client, ExtendedKeyUsageOID.CLIENT_AUTH)):
        made.verify_directly_issued_by(root)
        assert list(made.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == [usage]
        assert not made.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert root.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    with certificates.files(server) as files:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(*files)
        assert Path(files[1]).parent.stat().st_mode & 0o777 == 0o700
    assert not Path(files[1]).exists()
    assert server.key not in repr(server)


# ---- what is around --------------------------------------------------------------------------------
def test_a_mirror_of_packages() -> None:
    debian = surroundings.sources("https://mirror.example/debian", "debian", "bookworm")
    assert "URIs: https://mirror.example/debian\nSuites: bookworm bookworm-updates\n" in debian
    assert "URIs: https://mirror.example/debian-security\nSuites: bookworm-security\n" in debian
    ubuntu = surroundings.sources("https://mirror.example/ubuntu", "ubuntu", "noble")
    assert "URIs: https://mirror.example/ubuntu\nSuites: noble noble-updates noble-security\n" in ubuntu
    assert "Signed-By: /usr/share/keyrings/ubuntu-archive-keyring.gpg" in ubuntu


def test_a_proxy_and_a_mirror_of_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("APT_PROXY", "DOCKER", "DOCKER_PROXY"):
        monkeypatch.setattr(surroundings, name, tmp_path / name)
    for name in ("http_proxy", "https_proxy", "no_proxy"):
        monkeypatch.setenv(name, "")
    (tmp_path / "DOCKER").write_text('{"mtu": 1400}')
    around = {"proxy": "http://proxy.example:3128", "no_proxy": [".corp"], "ca_bundle": "", "apt_mirror": ""}
    surroundings.settle({**around, "image_mirror": "images.example"})
    assert 'Acquire::https::Proxy "http://proxy.example:3128";' in (tmp_path / "APT_PROXY").read_text()
    direct = "NO_PROXY=localhost,127.0.0.1,169.254.169.254,.corp"
    assert f'Environment="{direct}"' in (tmp_path / "DOCKER_PROXY").read_text()
    wanted = {"mtu": 1400, "registry-mirrors": ["https://images.example"]}
    assert json.loads((tmp_path / "DOCKER").read_text()) == wanted


@pytest.mark.never_real(
    "NVIDIA driver and container toolkit on a new machine", "finding the device is tried; nothing is installed"
)
@pytest.mark.parametrize(
    ("devices", "found"),
    [
        ([], False),
        ([("0x1d0f", "0x020000")], False),
        ([("0x10de", "0x040300")], False),
        ([("0x1d0f", "0x020000"), ("0x10de", "0x030200")], True),
        ([("0x10de", "0x030000")], True),
    ],
)
def test_a_device_of_nvidia(tmp_path: Path, devices: list[tuple[str, str]], found: bool) -> None:
    for number, (vendor, kind) in enumerate(devices):
        device = tmp_path / f"0000:00:{number:02x}.0"
        device.mkdir()
        (device / "vendor").write_text(f"{vendor}\n")
        (device / "class").write_text(f"{kind}\n")
    assert nvidia.is_there(tmp_path) is found
