"""Trouble of the infrastructure: full disk, engine gone, store that refuses. It is tried again, then said."""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fixtures.bench import Bench, make_bench
from fixtures.inputs import FileServer
from fixtures.refusals import check_says, refusals
from fixtures.stack import Stack, wait_until

ENGINE = Path("/var/run/docker.sock")
pytestmark = pytest.mark.needs("root", "engine")


class EngineDoor:
    """A socket before the engine's own that can be shut."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._listener: socket.socket | None = None
        self.open()

    def open(self) -> None:
        """Let calls through."""
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self.path))
        self._listener.listen(64)
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def shut(self) -> None:
        """No engine any more: calls are refused, open ones are cut."""
        if self._listener is None:
            return
        self._listener.close()
        self._listener = None
        self.path.unlink()
        for pair in self._pairs:
            for end in pair:
                with_no_error(end)
        self._pairs = []

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                near, _ = listener.accept()
            except OSError:
                return
            far = socket.socket(socket.AF_UNIX)
            far.connect(str(ENGINE))
            self._pairs.append((near, far))
            for source, target in ((near, far), (far, near)):
                threading.Thread(target=_carry, args=(source, target), daemon=True).start()


def with_no_error(end: socket.socket) -> None:
    """Cut a connection that may be cut already."""
    try:
        end.shutdown(socket.SHUT_RDWR)
    except OSError:
        return


def _carry(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        with_no_error(source)
        with_no_error(target)


@contextmanager
def small_disk(path: Path, size: str) -> Iterator[None]:
    """A file system of this size at `path`."""
    path.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=700", "tmpfs", str(path)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)


@pytest.fixture(scope="module")
def door() -> Iterator[EngineDoor]:
    """The engine as the worker sees it."""
    folder = Path(tempfile.mkdtemp(prefix="remora-engine-"))
    opened = EngineDoor(folder / "engine.sock")
    yield opened
    opened.shut()
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def troubled(door: EngineDoor, served: FileServer) -> Iterator[Bench]:
    """A stack whose worker has 260 MB of disk, whose data store has 2 MB, and whose engine is behind the door."""
    home = Path(tempfile.mkdtemp(prefix="remora-test-"))
    engine = f"unix://{door.path}"
    stack = Stack(home, {"DOCKER_HOST": engine}, {"engine": engine})
    with small_disk(home / "agent", "260m"), small_disk(home / "stores" / "data", "2m"):
        try:
            stack.start()
            yield make_bench(stack, served, "trouble")
        finally:
            door.shut()
            stack.stop()
    shutil.rmtree(home, ignore_errors=True)


def check_crash(bench: Bench, what: str, execution: str) -> None:
    """It was tried three times, and says why."""
    ran = bench.end(execution, timeout=90)
    assert ran.shown["status"] == refusals()[what][0], ran.text
    assert ran.shown["attempt"] == 3
    check_says(what, ran.said)


def test_small_things_fit(troubled: Bench) -> None:
    ran = troubled.run("echo x > /valohai/outputs/small.txt")
    assert ran.shown["status"] == "complete", ran.text


def test_disk_full_on_the_worker(troubled: Bench) -> None:
    troubled.files.files["large.bin"] = bytes(300_000_000)
    try:
        url = troubled.files.url("large.bin")
        check_crash(troubled, "disk full on the worker", troubled.start("true", inputs={"data": [url]}))
    finally:
        del troubled.files.files["large.bin"]
    assert troubled.run("echo again").shown["status"] == "complete"


def test_command_that_fills_the_disk(troubled: Bench) -> None:
    """It ends, whoever notices first: the command by its failing write, or the agent before nothing is left."""
    ran = troubled.run("head -c 1000000000 /dev/zero > /valohai/repository/large\nsleep 60", timeout=90)
    assert ran.shown["status"] in ("error", "crashed"), ran.text
    assert troubled.run("echo again").shown["status"] == "complete"


def test_store_refusing(troubled: Bench) -> None:
    execution = troubled.start("head -c 5000000 /dev/zero > /valohai/outputs/large.bin")
    check_crash(troubled, "store refusing", execution)
    assert troubled.run("echo again").shown["status"] == "complete"


def test_engine_gone(troubled: Bench, door: EngineDoor) -> None:
    door.shut()
    try:
        check_crash(troubled, "engine gone", troubled.start("echo never"))
    finally:
        door.open()
    assert troubled.run("echo again").shown["status"] == "complete"


def test_engine_away_for_a_moment(troubled: Bench, door: EngineDoor) -> None:
    """A running container outlives it; the execution ends as if nothing had been."""
    execution = troubled.start("echo begun\nsleep 4\ncp /bin/true /valohai/outputs/kept")
    troubled.stack.wait_for_line(execution, "begun")
    door.shut()
    wait_until(lambda: not door.path.exists(), 2, "the door")
    door.open()
    ran = troubled.end(execution)
    assert ran.shown["status"] == "complete", ran.text
    assert ran.shown["attempt"] == 1
