"""What a machine refuses of a release, and what it says."""

from __future__ import annotations

import base64
import hashlib
import io
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from worker_bootstrap.protocol import crypto
from worker_bootstrap.release import (
    MAX_FILE,
    Manifest,
    ReleaseError,
    ReleaseFile,
    admit,
    choose,
    copy_checked,
    open_manifest,
    sign_manifest,
    trusted_keys,
)

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
KEY, OTHER = crypto.SigningKey(b"k" * 32), crypto.SigningKey(b"o" * 32)
DATA = b"the agent's file"
FILE = ReleaseFile("remora-agent-x86_64.pex", hashlib.sha256(DATA).hexdigest(), len(DATA))
MANIFEST = Manifest(
    name="remora-agent",
    version="0.2.0",
    minimum_version="0.1.0",
    created="2026-02-01T00:00:00+00:00",
    expires="2026-05-01T00:00:00+00:00",
    files={"x86_64": FILE},
    keys=[crypto.b64(KEY.public)],
)
TRUSTED = trusted_keys([crypto.b64(KEY.public)])


def refused(call: Any, *args: Any, **options: Any) -> ReleaseError:
    with pytest.raises(ReleaseError) as caught:
        call(*args, **options)
    return caught.value


def test_a_signed_manifest_opens_as_it_was_written() -> None:
    assert open_manifest(sign_manifest(MANIFEST, [KEY]), TRUSTED, NOW) == MANIFEST


def test_wrong_key() -> None:
    error = refused(open_manifest, sign_manifest(MANIFEST, [OTHER]), TRUSTED, NOW)
    assert error.code == "unknown_key"
    assert OTHER.id in str(error) and KEY.id in str(error)


def test_a_key_that_only_claims_to_be_the_trusted_one() -> None:
    envelope = json.loads(sign_manifest(MANIFEST, [OTHER]))
    envelope["signatures"][0]["keyid"] = KEY.id
    assert refused(open_manifest, json.dumps(envelope).encode(), TRUSTED, NOW).code == "bad_signature"


def test_flipped_byte() -> None:
    envelope = json.loads(sign_manifest(MANIFEST, [KEY]))
    payload = bytearray(base64.b64decode(envelope["payload"]))
    payload[payload.index(b"0.2.0") + 2] ^= 1
    envelope["payload"] = base64.b64encode(payload).decode()
    error = refused(open_manifest, json.dumps(envelope).encode(), TRUSTED, NOW)
    assert error.code == "bad_signature"
    assert "changed after it was signed" in str(error)


def test_a_signature_for_something_else_is_none_for_a_release() -> None:
    envelope = json.loads(sign_manifest(MANIFEST, [KEY]))
    payload = base64.b64decode(envelope["payload"])
    envelope["signatures"] = [{"keyid": KEY.id, "sig": crypto.b64(KEY.sign(payload))}]
    assert refused(open_manifest, json.dumps(envelope).encode(), TRUSTED, NOW).code == "bad_signature"


@pytest.mark.parametrize("raw", [b"", b"<html>", b"\xff\x00", b'{"payload": ', b"[" * 100])
def test_what_is_no_json(raw: bytes) -> None:
    assert refused(open_manifest, raw, TRUSTED, NOW).code == "not_json"


@pytest.mark.parametrize("raw", [b"{}", b"[]", b"7", b'{"payloadType": "application/x"}'])
def test_json_of_something_else(raw: bytes) -> None:
    assert refused(open_manifest, raw, TRUSTED, NOW).code == "bad_manifest"


def test_a_huge_manifest_is_not_decoded() -> None:
    assert refused(open_manifest, b" " * 1_000_000, TRUSTED, NOW).code == "not_json"


def test_expiry_forgives_five_minutes_of_clock() -> None:
    expires = datetime.fromisoformat(MANIFEST.expires)
    raw = sign_manifest(MANIFEST, [KEY])
    open_manifest(raw, TRUSTED, expires + timedelta(minutes=5))
    error = refused(open_manifest, raw, TRUSTED, expires + timedelta(minutes=5, seconds=1))
    assert error.code == "expired"
    assert MANIFEST.expires in str(error)


def test_both_keys_sign_during_a_rotation() -> None:
    raw = sign_manifest(replace(MANIFEST, keys=[crypto.b64(OTHER.public), crypto.b64(KEY.public)]), [OTHER, KEY])
    for key in (KEY, OTHER):
        opened = open_manifest(raw, trusted_keys([crypto.b64(key.public)]), NOW)
        assert len(opened.keys) == 2


@pytest.mark.parametrize(
    ("installed", "floor", "code"),
    [("0.2.1", "", "older"), ("1.0.0", "", "older"), ("0.10.0", "", "older"), ("", "0.3.0", "below_minimum")],
)
def test_going_back_is_refused(installed: str, floor: str, code: str) -> None:
    error = refused(admit, MANIFEST, installed, floor)
    assert error.code == code
    assert "0.2.0" in str(error)


def test_the_same_and_newer_are_let_in() -> None:
    for installed in ("", "0.1.9", "0.2.0"):
        admit(MANIFEST, installed, "0.2.0")


def test_a_release_below_its_own_minimum_is_refused() -> None:
    assert refused(admit, replace(MANIFEST, minimum_version="0.3.0"), "", "").code == "below_minimum"


def test_unknown_architecture() -> None:
    error = refused(choose, MANIFEST, "riscv64")
    assert error.code == "unknown_architecture"
    assert "riscv64" in str(error) and "x86_64" in str(error)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (DATA[:-1], "truncated"),
        (b"", "truncated"),
        (DATA + b"!", "too_big"),
        (DATA.replace(b"agent", b"AGENT"), "wrong_sha256"),
    ],
)
def test_another_file_than_the_signed_one(data: bytes, code: str) -> None:
    assert refused(copy_checked, io.BytesIO(data), lambda _: None, FILE).code == code


def test_a_file_above_the_cap_is_not_even_begun() -> None:
    written: list[bytes] = []
    error = refused(copy_checked, io.BytesIO(DATA), written.append, replace(FILE, size=MAX_FILE + 1))
    assert error.code == "too_big"
    assert not written


def test_an_endless_answer_is_cut_off() -> None:
    class Endless(io.RawIOBase):
        taken = 0

        def read(self, size: int = -1) -> bytes:
            self.taken += size
            return b"x" * size

    endless = Endless()
    assert refused(copy_checked, endless, lambda _: None, FILE).code == "too_big"
    assert endless.taken == len(DATA) + 1


@pytest.mark.parametrize("name", ["../agent.pex", "/etc/passwd", ".hidden", "", "a b"])
def test_names_that_leave_the_folder(name: str) -> None:
    raw = sign_manifest(replace(MANIFEST, files={"x86_64": replace(FILE, name=name)}), [KEY])
    assert refused(open_manifest, raw, TRUSTED, NOW).code == "bad_manifest"
