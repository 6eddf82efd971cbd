"""The one place that starts `git` and what belongs to it. Arguments are lists, nothing is read from the machine's
configuration, and time, size and memory end.

The process has a session of its own, so that its children (git-remote-https, index-pack, ssh) end with it.
"""

from __future__ import annotations

import os
import re
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import structlog

from controlplane.git.errors import GitError, meaning

log = structlog.get_logger()
LOOK_EVERY = 0.2
PIECE = 1 << 16
WORDS = 16_384
MEMORY = 3 << 30
MOST_FILES = 200_000
# Below this version `http.curloptResolve` is not known, and left out in silence.
OLDEST = (2, 37)

CONFIGURATION = {
    "core.hooksPath": "/dev/null",
    "core.fsmonitor": "false",
    "core.alternateRefsCommand": "",
    "core.bigFileThreshold": "64m",
    "core.packedGitWindowSize": "32m",
    "core.packedGitLimit": "512m",
    "credential.helper": "",
    "fetch.fsckObjects": "true",
    "fetch.fsck.zeroPaddedFilemode": "ignore",
    "fetch.fsck.missingSpaceBeforeDate": "ignore",
    "fetch.fsck.badTimezone": "ignore",
    "fetch.recurseSubmodules": "false",
    "fetch.unpackLimit": "1",
    "fetch.uriProtocols": "",
    "gc.auto": "0",
    "http.followRedirects": "false",
    "http.lowSpeedLimit": "100",
    "http.lowSpeedTime": "60",
    "http.proxy": "",
    "http.sslVerify": "true",
    "i18n.logOutputEncoding": "UTF-8",
    "log.showSignature": "false",
    "maintenance.auto": "false",
    "pack.threads": "1",
    "protocol.version": "2",
    "submodule.recurse": "false",
    "transfer.bundleURI": "false",
    "transfer.credentialsInUrl": "die",
}
ENVIRONMENT = {
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_SYSTEM": "/dev/null",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_ATTR_NOSYSTEM": "1",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_ALLOW_PROTOCOL": "https:ssh",
    "GIT_LFS_SKIP_SMUDGE": "1",
    "GIT_NO_REPLACE_OBJECTS": "1",
    "GIT_OPTIONAL_LOCKS": "0",
    "LC_ALL": "C",
}


@dataclass(frozen=True)
class Caps:
    """Longest run in seconds; largest size in bytes of `folder`, which the command writes to."""

    seconds: float
    folder: Path
    most_bytes: int


Taker = Callable[[bytes], None]


def run_git(
    arguments: Sequence[str],
    caps: Caps,
    *,
    home: Path,
    environment: Mapping[str, str] | None = None,
    configuration: Mapping[str, str] | None = None,
    out: Taker | None = None,
    told: Taker | None = None,
    check: Callable[[], None] | None = None,
) -> bytes:
    """What it prints, unless `out` takes it piece by piece; `told` gets what it says beside.

    `check` is called often, and may raise to end it. `home` is an empty folder. Raises GitError.
    """
    check_version()
    options = [
        part for name, value in {**CONFIGURATION, **(configuration or {})}.items() for part in _option(name, value)
    ]
    kept: list[bytes] = []
    words = _Words(told)
    code = run_program(
        ["git", *options, *arguments],
        caps,
        home=home,
        environment={**ENVIRONMENT, **(environment or {})},
        out=out or kept.append,
        told=words,
        check=check,
    )
    if code != 0:
        reason = meaning(words.text)
        log.warning("git_failed", command=arguments[0], code=code, reason=reason, words=words.text[-2000:])
        raise GitError(reason, bytes=caps.most_bytes)
    return b"".join(kept)


def run_program(
    arguments: Sequence[str],
    caps: Caps,
    *,
    home: Path,
    environment: Mapping[str, str],
    out: Taker,
    told: Taker,
    check: Callable[[], None] | None = None,
) -> int:
    """Its exit code. Raises GitError when it takes too long or writes too much."""
    limits = ["prlimit", "--core=0", f"--fsize={caps.most_bytes}", f"--data={MEMORY}", "--"]
    process = subprocess.Popen(
        [*limits, *arguments],
        cwd=home,
        env={"PATH": os.environ.get("PATH", os.defpath), "HOME": str(home), **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        _follow(process, caps, out, told, check)
        code = process.wait(caps.seconds)
        # The kernel ends who writes beyond the limit, and git does not always say so.
        if code != 0 and not _fits(caps):
            raise GitError("git_too_large", bytes=caps.most_bytes)
        return code
    finally:
        _end(process)


def _follow(
    process: subprocess.Popen[bytes], caps: Caps, out: Taker, told: Taker, check: Callable[[], None] | None
) -> None:
    deadline, next_look = time.monotonic() + caps.seconds, 0.0
    with selectors.DefaultSelector() as pipes:
        for stream, taker in ((process.stdout, out), (process.stderr, told)):
            assert stream is not None
            pipes.register(stream, selectors.EVENT_READ, taker)
        while pipes.get_map():
            for key, _ in pipes.select(LOOK_EVERY):
                piece = os.read(key.fd, PIECE)
                if piece:
                    key.data(piece)
                else:
                    pipes.unregister(key.fileobj)
            now = time.monotonic()
            if now < next_look:
                continue
            next_look = now + LOOK_EVERY
            if now > deadline:
                raise GitError("git_too_slow", seconds=round(caps.seconds))
            if not _fits(caps):
                raise GitError("git_too_large", bytes=caps.most_bytes)
            if check is not None:
                check()


def _end(process: subprocess.Popen[bytes]) -> None:
    """Children may outlive the one that was started: all of its session end."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for stream in (process.stdout, process.stderr):
        if stream is not None:
            stream.close()


def _fits(caps: Caps) -> bool:
    size = files = 0
    for folder, _, names in os.walk(caps.folder):
        files += len(names)
        for name in names:
            try:
                size += os.lstat(os.path.join(folder, name)).st_size  # noqa: PTH118 (a walk of many files)
            except FileNotFoundError:
                continue
        if size > caps.most_bytes or files > MOST_FILES:
            return False
    return True


def _option(name: str, value: str) -> tuple[str, str]:
    return "-c", f"{name}={value}"


@cache
def check_version() -> None:
    """Raise GitError when `git` is missing or too old for an address to be pinned."""
    try:
        words = subprocess.run(["git", "version"], capture_output=True, text=True, timeout=20).stdout.split()
        major, minor = words[2].split(".")[:2]
        is_usable = (int(major), int(minor)) >= OLDEST
    except (OSError, subprocess.TimeoutExpired, IndexError, ValueError):
        is_usable = False
    if not is_usable:
        raise GitError("git_missing", oldest=".".join(map(str, OLDEST)))


class _Words:
    """The last of what a program says, and on to whoever listens."""

    def __init__(self, told: Taker | None) -> None:
        self._told = told
        self._kept = b""

    def __call__(self, piece: bytes) -> None:
        self._kept = (self._kept + piece)[-WORDS:]
        if self._told is not None:
            self._told(piece)

    @property
    def text(self) -> str:
        """Without what the other side says: nobody may choose the meaning from there."""
        lines = re.split(r"[\r\n]+", self._kept.decode("utf-8", "replace"))
        return "\n".join(line for line in lines if not line.startswith("remote:"))
