"""`vh exec logs` in its three ways."""

from __future__ import annotations

import re

from fixtures.work import Work

LINE = re.compile(r"^\d\d:\d\d:\d\d\.\d+ line (\d{6})$", re.MULTILINE)


def numbers(text: str) -> list[int]:
    return [int(number) for number in LINE.findall(text)]


def test_logs_shows_every_stream(work: Work, trained: str) -> None:
    text = work.vh("exec", "logs", trained).out
    assert "label two words" in text and "to stderr" in text
    assert "to stderr" not in work.vh("exec", "logs", "--no-stderr", trained).out
    only_status = work.vh("exec", "logs", "--no-stdout", "--no-stderr", trained).out
    assert "label two words" not in only_status and only_status.strip()


def test_logs_is_the_tail_and_all_is_all(work: Work) -> None:
    counter = work.run("lines", "--count", "3000")
    work.finish(counter)
    tail = work.vh("exec", "logs", counter)
    assert re.search(r"There are \d+ events, but only the last \d+ are shown", tail.text)
    assert numbers(tail.out)[-1] == 2999 and len(numbers(tail.out)) < 3000
    assert numbers(work.vh("exec", "logs", "--all", counter).out) == list(range(3000))


def test_logs_stream_follows_to_the_end(work: Work) -> None:
    counter = work.run("lines", "--count", "40", "--pause", "0.1")
    done = work.vh("exec", "logs", "--stream", counter)
    assert numbers(done.out) == list(range(40))
    assert "The execution has finished" in done.err
    assert "Ended: complete" in done.out.splitlines()[-1]


def test_logs_of_a_running_one_come_at_once(work: Work) -> None:
    counter = work.run("lines", "--count", "100", "--pause", "0.2")
    try:
        done = work.vh.until(lambda text: "line 000002" in text, "exec", "logs", "--stream", counter, timeout=30)
        assert numbers(done.out)[:3] == [0, 1, 2]
    finally:
        work.vh("exec", "stop", counter)
    work.finish(counter, ("stopped",))
