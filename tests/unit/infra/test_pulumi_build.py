"""Where Pulumi's CLI comes from: PATH, then the download host, then Go; and that everything is of one version."""

from __future__ import annotations

import functools
import http.server
import os
import re
import subprocess
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from plugin.store_parts import TOOLS

BUILD = TOOLS / "pulumi" / "build.sh"
VERSION = re.findall(r"pulumi/pkg/v3 v([0-9.]+)", (TOOLS / "pulumi/cli/go.mod").read_text())[0]
FILES = ("pulumi", "pulumi-language-python", "pulumi-language-python-exec", "pulumi-resource-pulumi-python")


def release(folder: Path, version: str) -> Path:
    """The files of a release; the first says its version, as the real one does."""
    folder.mkdir(parents=True)
    for name in FILES:
        (folder / name).write_text(f"#!/bin/sh\necho v{version}\n")
        (folder / name).chmod(0o755)
    return folder


@pytest.fixture
def mirror(tmp_path: Path) -> Iterator[str]:
    """A download host on the loopback, with nothing on it yet: files go to `tmp_path/mirror`."""
    (tmp_path / "mirror").mkdir()
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path / "mirror"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def build(tmp_path: Path, mirror: str, installed: Path | None = None) -> tuple[Path | None, str]:
    """What the script puts into its folder, and what it says. Go is too old here, so that nothing is built."""
    (tmp_path / "bin").mkdir(exist_ok=True)
    (tmp_path / "bin" / "go").write_text("#!/bin/sh\necho go1.19.8\n")
    (tmp_path / "bin" / "go").chmod(0o755)
    path = f"{installed or tmp_path / 'bin'}:{tmp_path / 'bin'}:/usr/bin:/bin"
    environment = {"PATH": path, "HOME": str(tmp_path), "REMORA_HOME": str(tmp_path / "home"), "NO_PROXY": "127.0.0.1"}
    environment["REMORA_PULUMI_RELEASES"] = mirror
    done = subprocess.run([BUILD], env=environment, capture_output=True, text=True, timeout=60, check=True)
    return next((tmp_path / ".cache" / "remora").glob("pulumi-*/pulumi"), None), done.stdout


def publish(tmp_path: Path) -> None:
    machine = {"x86_64": "x64", "aarch64": "arm64"}[os.uname().machine]
    with tarfile.open(tmp_path / "mirror" / f"pulumi-v{VERSION}-linux-{machine}.tar.gz", "w:gz") as archive:
        archive.add(release(tmp_path / "release", VERSION), "pulumi")


def test_one_that_is_installed_is_taken(tmp_path: Path, mirror: str) -> None:
    folder = release(tmp_path / "installed", VERSION)
    publish(tmp_path)
    found, _ = build(tmp_path, mirror, folder)
    assert found is not None and found.resolve() == folder / "pulumi"


@pytest.mark.parametrize("version", ["3.9.0", "2.999.0", "4.0.0"])
def test_one_that_does_not_fit_is_not_taken(tmp_path: Path, mirror: str, version: str) -> None:
    folder = release(tmp_path / "installed", version)
    publish(tmp_path)
    found, _ = build(tmp_path, mirror, folder)
    assert found is not None and not found.is_symlink()
    assert subprocess.run([found], capture_output=True, text=True, check=True).stdout == f"v{VERSION}\n"


def test_half_a_release_is_not_taken(tmp_path: Path, mirror: str) -> None:
    folder = release(tmp_path / "installed", VERSION)
    (folder / "pulumi-language-python").unlink()
    found, said = build(tmp_path, mirror, folder)
    assert found is None and "no Pulumi here" in said


def test_without_any_of_it_one_line_says_what_is_missing(tmp_path: Path, mirror: str) -> None:
    found, said = build(tmp_path, mirror)
    assert found is None
    [line] = said.splitlines()
    assert f"install pulumi {VERSION} or newer" in line and mirror in line and "Go 1.21" in line


def test_a_folder_that_is_whole_is_left_alone(tmp_path: Path, mirror: str) -> None:
    publish(tmp_path)
    first, _ = build(tmp_path, mirror)
    assert first is not None
    made = first.stat().st_ino
    second, said = build(tmp_path, mirror)
    assert second is not None and (second.stat().st_ino, said) == (made, "")


@pytest.mark.parametrize("lock", ["requirements-installer.lock", "requirements-dev.lock"])
def test_the_sdk_is_of_the_cli_s_version(lock: str) -> None:
    """A newer SDK misreads what an older engine answers to `.get()` in a preview: the id would be unknown."""
    locked = re.findall(r"^pulumi==([0-9.]+)", (TOOLS.parent / lock).read_text(), re.MULTILINE)
    assert [version.rpartition(".")[0] for version in locked] == [VERSION.rpartition(".")[0]]


@pytest.mark.security("I02")
def test_the_installers_packages_are_pinned_by_checksum() -> None:
    lock = (TOOLS.parent / "requirements-installer.lock").read_text()
    assert f"\npulumi=={VERSION} " in lock
    entries = re.split(r"\n(?=[a-zA-Z0-9])", lock)[1:]
    assert len(entries) > 20
    assert [entry[:40] for entry in entries if "==" not in entry or "--hash=sha256:" not in entry] == []
