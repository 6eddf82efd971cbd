"""Processes that are forks: what they do, say and end with is seen from outside, as of any other process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HEAD = """
import os, signal, subprocess, sys, time
from pathlib import Path
from controlplane.embedded.forked import Forked

log = open(sys.argv[1], "ab")
signal.signal(signal.SIGTERM, lambda *_: print("the parent's handler", flush=True))

def said(words):
    until = time.monotonic() + 20
    while words not in Path(sys.argv[1]).read_text():
        assert time.monotonic() < until, words
        time.sleep(0.01)
"""


def run(path: Path, code: str) -> tuple[str, str]:
    """(what the parent printed, what its child wrote into its log)."""
    log = path / "log"
    command = [sys.executable, "-c", HEAD + code, str(log)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout, log.read_text()


@pytest.mark.parametrize(
    ("body", "code", "words"),
    [
        ("print('well')", 0, "well"),
        ("sys.exit(3)", 3, ""),
        ("sys.exit('no Redis is set')", 1, "no Redis is set"),
        ("raise OSError('the key is gone')", 1, "OSError: the key is gone"),
    ],
)
def test_its_words_are_in_its_log_and_its_end_is_its_exit_code(
    tmp_path: Path, body: str, code: int, words: str
) -> None:
    printed, log = run(tmp_path, f"def main():\n    {body}\nprint(Forked('part', main, log.fileno()).wait(20))")
    assert printed == f"{code}\n", "nothing of the child's is on the parent's output"
    assert words in log


def test_it_ends_when_it_is_asked_to_though_its_parent_handles_the_signal(tmp_path: Path) -> None:
    code = """
def main():
    print("up", flush=True)
    time.sleep(60)
child = Forked("part", main, log.fileno())
said("up")
child.terminate()
print(child.wait(20), child.poll(), child.returncode)
"""
    assert run(tmp_path, code) == ("-15 -15 -15\n", "up\n")


def test_one_that_does_not_listen_is_waited_for_and_killed(tmp_path: Path) -> None:
    code = """
def main():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    print("up", os.getsid(0) == os.getpid(), sys.stdin.read() == "", Path("/proc/self/comm").read_text(), flush=True)
    time.sleep(60)
child = Forked("part", main, log.fileno())
said("up")
child.terminate()
try:
    child.wait(0.1)
except subprocess.TimeoutExpired:
    print("still there", child.poll())
child.kill()
print(child.wait(20))
child.kill()
"""
    printed, log = run(tmp_path, code)
    assert printed == "still there None\n-9\n"
    assert log == "up True True remora-part\n\n", "a session of its own, nothing to read, a name of its own"
