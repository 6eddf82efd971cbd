"""How large objects may be: much in little memory, and parts that fit every size."""

import hashlib
import os
import tracemalloc
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import httpx
import pytest

from controlplane.data.stores.azure import AzureStore
from controlplane.data.stores.base import MIB, SignedUrl
from controlplane.data.stores.gcs import GcsStore
from controlplane.data.stores.http import StoreHttp
from controlplane.data.stores.s3 import S3Store
from controlplane.data.stores.swift import SwiftStore
from controlplane.net.reach import Reach
from fixtures.store_rigs import Rig, params
from fixtures.stores import code_of
from worker_bootstrap.protocol.reach import parse_networks

every_store = pytest.mark.parametrize("rig", params(), indirect=True)


@pytest.fixture
def web() -> Iterator[httpx.Client]:
    with httpx.Client(trust_env=False, timeout=60) as client:
        yield client


def send(web: httpx.Client, signed: SignedUrl, data: bytes) -> httpx.Response:
    return web.request(signed.method, signed.url, content=data, headers=signed.headers)


def move(rig: Rig, tmp_path: Path, size: int) -> None:
    """Put and read `size` bytes with little memory."""
    path, block = tmp_path / "large", os.urandom(MIB)
    sent, came = hashlib.sha256(), hashlib.sha256()
    with path.open("wb") as file:
        for _ in range(size // MIB):
            file.write(block)
            sent.update(block)
    tracemalloc.start()
    try:
        assert rig.store.put_file("large", path).size == size
        path.unlink()
        with rig.store.open("large") as reader:
            while chunk := reader.read(MIB):
                came.update(chunk)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert came.hexdigest() == sent.hexdigest()
    assert peak < 24 * MIB, f"{peak / MIB:.0f} MiB of memory for {size / MIB:.0f} MiB"
    rig.store.delete("large")


@every_store
def test_64_megabytes_in_little_memory(rig, tmp_path):
    move(rig, tmp_path, 64 * MIB)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@every_store
def test_1_gigabyte_in_little_memory(rig, tmp_path):
    move(rig, tmp_path, 1024 * MIB)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("rig", [p for p in params() if p.values[0] in ("folder", "s3")], indirect=True)
def test_5_gigabytes_in_parts(rig, web):
    """More than one request can carry to S3."""
    store, size = rig.store, 5 * 1024 * MIB + 7
    part_bytes = store.parts.part_bytes(size)
    block, upload, marks, sent = os.urandom(part_bytes), store.begin("huge"), [], hashlib.sha256()
    for number, start in enumerate(range(0, size, part_bytes), 1):
        part = block[: min(part_bytes, size - start)]
        sent.update(part)
        marks += [send(web, store.sign_part("huge", upload, number, len(part)), part).headers.get("ETag", "")]
    assert store.complete("huge", upload, size, marks).size == size
    came = hashlib.sha256()
    with store.open("huge") as reader:
        while chunk := reader.read(MIB):
            came.update(chunk)
    assert came.hexdigest() == sent.hexdigest()
    store.delete("huge")


def test_sizes_of_parts_fit_every_object():

    for kind in (AzureStore, GcsStore, S3Store, SwiftStore):
        for size in (64 * MIB + 1, 700 << 30, 5 << 40 if kind is not SwiftStore else 4 << 40):
            part = kind.parts.part_bytes(size)
            assert part <= kind.parts.largest, kind
            assert -(-size // part) <= kind.parts.most, kind
    assert code_of(SwiftStore.parts.part_bytes, 6 << 40) == "bad_size"


def test_bytes_that_do_not_come_end_the_request(tmp_path):
    """An announced size that the file no longer has."""

    http = StoreHttp(Reach(parse_networks(["127.0.0.0/8"])))
    assert code_of(http.send, "http://127.0.0.1:1/x", {}, BytesIO(b"123"), 10) == "unavailable"
