"""Code archives: what `vh` sends is read, what nobody should send is refused."""

from __future__ import annotations

import gzip
import io
import tarfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from controlplane.commits.archive import read_yaml
from controlplane.errors import ValidationError

YAML = b"- step:\n    name: a\n    image: b\n    command: c\n"


def add(tar: tarfile.TarFile, name: str, data: bytes = b"x", **fields: object) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for key, value in fields.items():
        setattr(info, key, value)
    tar.addfile(info, io.BytesIO(data) if info.isreg() else None)


def pack(path: Path, fill: Callable[[tarfile.TarFile], None], form: int = tarfile.PAX_FORMAT) -> Path:
    with tarfile.open(path, "w:gz", format=form) as tar:
        add(tar, "valohai.yaml", YAML)
        fill(tar)
    return path


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
def test_ordinary_archives_are_read(tmp_path: Path, form: int) -> None:
    def fill(tar: tarfile.TarFile) -> None:
        add(tar, "src", type=tarfile.DIRTYPE, size=0)
        add(tar, "src/train.py", b"print(1)\n" * 1000)
        add(tar, "src/data/deep.txt")
        add(tar, "src/link.py", type=tarfile.SYMTYPE, linkname="train.py", size=0)
        add(tar, "src/data/up", type=tarfile.SYMTYPE, linkname="../train.py", size=0)
        add(tar, "copy.py", type=tarfile.LNKTYPE, linkname="src/train.py", size=0)
        if form != tarfile.USTAR_FORMAT:
            add(tar, "n" * 120 + "/" + "ä" * 60 + ".txt")
        add(tar, "empty.txt", b"")

    assert read_yaml(pack(tmp_path / "a.tgz", fill, form), "valohai.yaml", 1000) == YAML


def test_dot_names_and_other_yaml_path(tmp_path: Path) -> None:
    path = pack(tmp_path / "a.tgz", lambda tar: add(tar, "./conf/v.yaml", b"other"))
    assert read_yaml(path, "conf/v.yaml", 1000) == b"other"


HOSTILE: dict[str, tuple[Callable[[tarfile.TarFile], None], str]] = {
    "climbs": (lambda t: add(t, "../evil"), "leaves it"),
    "climbs inside": (lambda t: add(t, "a/../../evil"), "leaves it"),
    "absolute": (lambda t: add(t, "/etc/cron.d/evil"), "leaves it"),
    "back-slash": (lambda t: add(t, "..\\evil"), "leaves it"),
    "control character": (lambda t: add(t, "a\nb"), "control character"),
    "long part": (lambda t: add(t, "n" * 256), "too long"),
    "long path": (lambda t: add(t, "/".join(["n" * 200] * 25)), "too long"),
    "link out": (lambda t: add(t, "l", type=tarfile.SYMTYPE, linkname="../../etc/shadow", size=0), "link that leaves"),
    "absolute link": (lambda t: add(t, "l", type=tarfile.SYMTYPE, linkname="/etc/shadow", size=0), "link that leaves"),
    "hard link out": (lambda t: add(t, "l", type=tarfile.LNKTYPE, linkname="../x", size=0), "link that leaves"),
    "hard link to nothing": (lambda t: add(t, "l", type=tarfile.LNKTYPE, linkname="x", size=0), "hard link"),
    "device": (lambda t: add(t, "sda", type=tarfile.BLKTYPE, size=0), "no file, folder or link"),
    "pipe": (lambda t: add(t, "p", type=tarfile.FIFOTYPE, size=0), "no file, folder or link"),
    "sparse": (lambda t: add(t, "s", b"", type=tarfile.GNUTYPE_SPARSE), "no file, folder or link"),
    "twice": (lambda t: (add(t, "x"), add(t, "./x"))[0], "twice"),
    "yaml twice": (lambda t: add(t, "valohai.yaml", b"evil"), "twice"),
    "pax bomb": (lambda t: add(t, "x", pax_headers={"comment": "a" * 100_000}), "extended header of"),
    "pax sparse": (lambda t: add(t, "x", pax_headers={"GNU.sparse.major": "1"}), "unknown kind"),
    "pax charset": (lambda t: add(t, "x", pax_headers={"hdrcharset": "BINARY"}), "unknown kind"),
}


@pytest.mark.security("N25")
@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_entries_are_refused_and_named(tmp_path: Path, case: str) -> None:
    fill, sentence = HOSTILE[case]
    with pytest.raises(ValidationError) as caught:
        read_yaml(pack(tmp_path / "a.tgz", fill), "valohai.yaml", 1000)
    assert sentence in caught.value.fields["data"][0][0]
    assert caught.value.fields["data"][0][1] == "bad_archive"


@pytest.mark.security("N25")
def test_writing_through_a_link_is_refused(tmp_path: Path) -> None:
    def fill(tar: tarfile.TarFile) -> None:
        add(tar, "d", type=tarfile.DIRTYPE, size=0)
        add(tar, "l", type=tarfile.SYMTYPE, linkname="d", size=0)
        add(tar, "l/deep/evil")

    with pytest.raises(ValidationError, match="below what is no folder"):
        read_yaml(pack(tmp_path / "a.tgz", fill), "valohai.yaml", 1000)


@pytest.mark.security("N25")
def test_chain_of_links_cannot_climb(tmp_path: Path) -> None:
    def fill(tar: tarfile.TarFile) -> None:
        add(tar, "a/b/root", type=tarfile.SYMTYPE, linkname="../..", size=0)
        add(tar, "out", type=tarfile.SYMTYPE, linkname="a/b/root/..", size=0)

    with pytest.raises(ValidationError, match="link that leaves"):
        read_yaml(pack(tmp_path / "a.tgz", fill), "valohai.yaml", 1000)


@pytest.mark.security("N25")
def test_bomb_is_refused_quickly(tmp_path: Path) -> None:
    path = tmp_path / "bomb.tgz"
    with gzip.open(path, "wb", compresslevel=9) as out:
        info = tarfile.TarInfo("zeros")
        info.size = 10_000_000_000
        out.write(info.tobuf())
        for _ in range(80):
            out.write(b"\0" * 1_000_000)
    started = time.monotonic()
    with pytest.raises(ValidationError, match="unpacks to more than"):
        read_yaml(path, "valohai.yaml", 1000)
    assert time.monotonic() - started < 5


@pytest.mark.security("N25")
def test_a_million_entries_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("controlplane.commits.archive.MAX_ENTRIES", 50)
    path = pack(tmp_path / "a.tgz", lambda tar: [add(tar, f"f{n}") for n in range(60)] and None)
    with pytest.raises(ValidationError, match="more than 50 entries"):
        read_yaml(path, "valohai.yaml", 1000)


@pytest.mark.parametrize("damage", ["no gzip", "cut", "trailing", "checksum", "empty"])
def test_broken_files(tmp_path: Path, damage: str) -> None:
    path = pack(tmp_path / "a.tgz", lambda tar: add(tar, "x", b"y" * 5000))
    whole = path.read_bytes()
    raw = bytearray(gzip.decompress(whole))
    raw[10] ^= 1
    path.write_bytes(
        {
            "no gzip": b"hello" * 100,
            "cut": whole[:-40],
            "trailing": whole + b"more",
            "checksum": gzip.compress(bytes(raw)),
            "empty": b"",
        }[damage]
    )
    with pytest.raises(ValidationError) as caught:
        read_yaml(path, "valohai.yaml", 1000)
    assert "data" in caught.value.fields


def test_missing_and_oversized_yaml(tmp_path: Path) -> None:
    path = pack(tmp_path / "a.tgz", lambda tar: add(tar, "big.yaml", b"a" * 2000))
    with pytest.raises(ValidationError, match="has no file other.yaml"):
        read_yaml(path, "other.yaml", 1000)
    with pytest.raises(ValidationError, match="the limit is 1000"):
        read_yaml(path, "big.yaml", 1000)
