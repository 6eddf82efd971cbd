"""Segments are made beside the storing, and each exactly once: also after a stop between its two objects."""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from worker_bootstrap.agent.logs.segmenter import Segmenter
from worker_bootstrap.agent.logs.segments import FORMER_LEVEL, LEVEL, SegmentBuilder
from worker_bootstrap.agent.logs.spool_reader import SpoolReader
from worker_bootstrap.agent.logs.spool_writer import SpoolWriter, end_of
from worker_bootstrap.agent.logs.types import LogPolicy, UploadError

POLICY = LogPolicy(segment_bytes=20_000, retry_first=0.0, retry_most=0.0)


class Store:
    """Keeps objects, and refuses another one under the same name with other bytes, as stores of segments do."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.before: Callable[[str], None] = lambda name: None

    def put(self, name: str, data: bytes) -> str:
        self.before(name)
        assert self.objects.setdefault(name, data) == data, f"{name} would have other bytes"
        return f"key/{name}"

    def lines(self) -> list[int]:
        """Numbers of the lines of all segments, in order of their names."""
        texts = [gzip.decompress(data) for name, data in sorted(self.objects.items()) if name.endswith(".gz")]
        return [json.loads(line)[0] for text in texts for line in text.splitlines()]


class Log:
    """A spool of `count` lines, and what was said of its segments."""

    def __init__(self, folder: Path, count: int) -> None:
        self.folder, self.store, self.events = folder, Store(), []
        writer = SpoolWriter(folder, 1 << 30, file_bytes=15_000)
        for number in range(0, count, 50):
            writer.write([("stdout", [f"line {n} of a log" for n in range(number, number + 50)])])
        writer.close()

    def emit(self, kind: str, data: dict[str, Any], key: str) -> None:
        assert kind == "segment" and key == f"segment:{data['first']:020d}"
        self.events.append(data)

    def segmenter(self) -> Segmenter:
        return Segmenter(self.folder, self.store.put, self.emit, POLICY, lambda: end_of(self.folder))


def ship(segmenter: Segmenter) -> None:
    while segmenter.step(threading.Event(), ending=True):
        pass


def test_every_line_is_in_one_segment_and_each_is_said_once_in_order(tmp_path: Path) -> None:
    log = Log(tmp_path, 3000)
    segmenter = log.segmenter()

    ship(segmenter)

    assert log.store.lines() == list(range(1, 3001))
    assert len(log.events) > 5
    assert [event["first"] for event in log.events] == [1, *(event["last"] + 1 for event in log.events[:-1])]
    assert {event["key"] for event in log.events} == {f"key/{n}" for n in log.store.objects if n.endswith(".gz")}
    assert (segmenter.lines, segmenter.last_seq, segmenter.pending()) == (3000, 3000, 0)


def test_an_agent_that_ended_between_the_two_objects_is_followed_by_one_that_stores_the_same(tmp_path: Path) -> None:
    log = Log(tmp_path, 3000)
    stop = threading.Event()

    def away(name: str) -> None:
        if name.endswith(".idx"):
            stop.set()
            raise UploadError("the store is away")

    log.store.before = away
    assert not log.segmenter().step(stop, ending=True)
    assert log.events == []
    log.store.before = lambda name: None

    ship(log.segmenter())

    assert log.store.lines() == list(range(1, 3001))
    assert log.events[0]["first"] == 1


def test_what_a_former_agent_was_about_to_store_gets_the_bytes_it_would_have_had(tmp_path: Path) -> None:
    """0.1.0 compressed at another level and kept no note of it: its segment may be in the store already."""
    log = Log(tmp_path, 3000)
    reader, former = SpoolReader(tmp_path), SegmentBuilder(level=FORMER_LEVEL)
    former.add(reader.read(9_000))
    segment = former.finish()
    log.store.put(f"{segment.name}.gz", segment.data)
    end = [reader.position.file, reader.position.offset]
    (tmp_path / "segments.json").write_text(json.dumps({"done": [0, 0], "intent": end, "notes": {}}))

    ship(log.segmenter())

    assert FORMER_LEVEL != LEVEL
    assert log.events[0]["sha256"] == segment.event["sha256"]
    assert log.store.lines() == list(range(1, 3001))
