"""The line keeper: one small process per attempt that holds the container's output and alone writes the spool.

It outlives the agent. Commands are JSON lines on the Unix socket `keeper.sock` in its folder, each is answered:
{"status": text}, {"mask": [secret, …]}, {"attach": container, "engine": url}, {"drain": seconds}, {"release": true},
{"state": true}, {"finish": seconds}. `release` may be a number of bytes instead. Secrets come by the socket only.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import selectors
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any

from worker_bootstrap.agent.logs.engine_stream import AttachError, attach, container_state
from worker_bootstrap.agent.logs.masking import Masker
from worker_bootstrap.agent.logs.output import Output
from worker_bootstrap.agent.logs.splitting import MAX_LINE, FrameError
from worker_bootstrap.agent.logs.spool_files import GAP
from worker_bootstrap.agent.logs.spool_writer import FILE_BYTES, Entry, SpoolFullError, SpoolWriter

SOCKET, LOCK, ATTACHED, DONE = "keeper.sock", "keeper.lock", "attached", "done.json"
READ_BYTES = 1 << 18
TICK = 0.1
TICK_IDLE = 1.0
ENGINE_SECONDS = 20.0
ENDED = ("exited", "dead", "gone")
QUIET_AFTER_END = 1.0
REPLACED = "the line keeper was replaced while the container ran; how many lines were lost is not known."
MISSED = "the container ended while no line keeper was there; how many lines were lost is not known."


class Keeper:
    """Everything of one attempt, in one thread."""

    def __init__(self, writer: SpoolWriter, listener: socket.socket, idle: float, max_line: int, linger: float) -> None:
        self._writer = writer
        self._masker = Masker()
        self._output = Output(self._masker, idle, max_line)
        self._selector = selectors.DefaultSelector()
        self._selector.register(listener, selectors.EVENT_READ, self._accept)
        self._stream: socket.socket | None = None
        self._container = ""
        self._reading = False
        self._eof = False
        self._ended_seen = 0.0
        self._queue: list[Entry] = []
        self._released = False
        self._clients: dict[socket.socket, bytes] = {}
        self._waiting: list[tuple[socket.socket, float, bool]] = []
        self._finished = False
        self._linger = linger
        self._busy_at = time.monotonic()

    def run(self) -> None:
        """Until `finish`, or until nobody can want anything any more."""
        while not self._finished and not self._forsaken():
            tick = TICK if self._stream or self._waiting or self._queue else TICK_IDLE
            for key, _ in self._selector.select(tick):
                key.data(key.fileobj)
            self._settle(time.monotonic())

    # ---- output ----------------------------------------------------------------------------------
    def _settle(self, now: float) -> None:
        """Write what is due, stop or go on reading, answer those who wait."""
        if self._stream is not None and not self._reading:
            self._output.hold(now)
        self._queue.extend(self._output.idle(now))
        self._write_out()
        if self._ended_seen and now - self._ended_seen >= QUIET_AFTER_END and self._reading:
            self._end_stream()
        self._set_reading(self._may_read())
        self._answer_waiting(now)

    def _may_read(self) -> bool:
        return not self._queue and (self._released or not self._writer.full())

    def _read(self, stream: socket.socket) -> None:
        try:
            data = stream.recv(READ_BYTES)
        except OSError:
            data = b""
        if not data:
            self._end_stream()
            return
        if self._ended_seen:
            self._ended_seen = time.monotonic()
        self._take(data)

    def _take(self, data: bytes) -> None:
        try:
            self._queue.extend(self._output.feed(data, time.monotonic()))
        except FrameError as error:
            self._end_stream()
            self._queue.append((GAP, [f"the engine's stream cannot be read: {error}."]))
        self._write_out()

    def _write_out(self) -> None:
        """A full disk keeps the batch here and stops the reading, until there is room."""
        if not self._queue:
            return
        try:
            self._writer.write(self._queue)
        except SpoolFullError:
            return
        self._queue = []

    def _set_reading(self, wanted: bool) -> None:
        if self._stream is None or wanted == self._reading:
            return
        if wanted:
            self._selector.register(self._stream, selectors.EVENT_READ, self._read)
        else:
            self._selector.unregister(self._stream)
        self._reading = wanted

    def _end_stream(self) -> None:
        if self._stream is None:
            return
        self._set_reading(False)
        self._stream.close()
        self._stream, self._eof, self._ended_seen = None, True, 0.0
        self._queue.extend(self._output.finish())
        self._busy_at = time.monotonic()

    # ---- commands --------------------------------------------------------------------------------
    def _accept(self, listener: socket.socket) -> None:
        client, _ = listener.accept()
        self._clients[client] = b""
        self._selector.register(client, selectors.EVENT_READ, self._hear)
        self._busy_at = time.monotonic()

    def _hear(self, client: socket.socket) -> None:
        try:
            data = client.recv(1 << 20)
        except OSError:
            data = b""
        if not data:
            self._forget(client)
            return
        *lines, self._clients[client] = (self._clients[client] + data).split(b"\n")
        for line in lines:
            reply = self._obey(client, line)
            if reply is not None:
                self._reply(client, reply)

    def _obey(self, client: socket.socket, line: bytes) -> dict[str, Any] | None:
        """The answer to a command, None when it comes later."""
        try:
            command = json.loads(line)
            return self._command(client, command)
        except (ValueError, KeyError, TypeError) as error:
            return {"error": f"not a command: {type(error).__name__}"}
        except AttachError as error:
            return {"error": str(error)}

    def _command(self, client: socket.socket, command: dict[str, Any]) -> dict[str, Any] | None:
        if "status" in command:
            text = self._masker.hide(str(command["status"]).encode("utf-8", "replace")[:MAX_LINE])
            self._queue.append(("status", [text.decode("utf-8", "replace")]))
            self._write_out()
        elif "mask" in command:
            self._masker.add([str(secret) for secret in command["mask"]])
        elif "attach" in command:
            self._attach(str(command["attach"]), str(command["engine"]))
        elif "release" in command:
            self._release(command["release"])
        elif "drain" in command or "finish" in command:
            ending = "finish" in command
            seconds = float(command["finish"] if ending else command["drain"])
            # The container has ended: what the engine still holds is little, and must not be lost to a limit.
            self._released = True
            self._waiting.append((client, time.monotonic() + seconds, ending))
            return None
        elif "state" not in command:
            return {"error": "not a command"}
        return self._state()

    def _release(self, more: Any) -> None:
        if more is True:
            self._released = True
        else:
            self._writer.allow(int(more))

    def _attach(self, container: str, engine: str) -> None:
        """Another container than before: the former one was never started, and is gone."""
        if self._stream is not None and container == self._container:
            return
        self._end_stream()
        again = Path(ATTACHED).exists() and Path(ATTACHED).read_text() in ("", container)
        if again and container_state(engine, container, ENGINE_SECONDS) in ENDED:
            self._eof = True
            self._queue.append((GAP, [MISSED]))
            return
        stream, rest = attach(engine, container, ENGINE_SECONDS)
        Path(ATTACHED).write_text(container)
        self._container = container
        self._output.restart()
        self._stream, self._eof = stream, False
        state = container_state(engine, container, ENGINE_SECONDS) if again else "created"
        if state != "created":
            self._queue.append((GAP, [REPLACED]))
        if state in ENDED:
            # It ended between the two looks: the engine may never close this connection.
            self._ended_seen = time.monotonic()
        if rest:
            self._take(rest)

    def _answer_waiting(self, now: float) -> None:
        """`drain` and `finish` are answered when the output has ended, or when their time is over."""
        for waiting in list(self._waiting):
            client, deadline, ending = waiting
            drained = self._stream is None
            # Lines that the disk does not take yet are waited for, however long.
            if self._queue or (not drained and now < deadline):
                continue
            self._waiting.remove(waiting)
            if ending:
                self._finish()
            self._reply(client, {**self._state(), "drained": drained})

    def _finish(self) -> None:
        self._end_stream()
        self._write_out()
        self._writer.close()
        document = json.dumps({"last_seq": self._writer.last_seq})
        Path(f"{DONE}.new").write_text(document)
        Path(f"{DONE}.new").replace(DONE)
        self._finished = True

    def _state(self) -> dict[str, Any]:
        return {
            "last_seq": self._writer.last_seq,
            "attached": self._stream is not None,
            "eof": self._eof,
            "blocked": self._stream is not None and not self._may_read(),
        }

    def _reply(self, client: socket.socket, reply: dict[str, Any]) -> None:
        try:
            client.sendall(json.dumps(reply).encode() + b"\n")
        except OSError:
            self._forget(client)

    def _forget(self, client: socket.socket) -> None:
        if self._clients.pop(client, None) is not None:
            self._selector.unregister(client)
            client.close()
        self._waiting = [waiting for waiting in self._waiting if waiting[0] is not client]

    def _forsaken(self) -> bool:
        """The folder is gone, or the output has ended long ago and no agent came back for it."""
        if not Path(LOCK).exists():
            return True
        quiet = self._stream is None and time.monotonic() - self._busy_at > self._linger
        return quiet and not self._clients


def lock_folder(seconds: float) -> int | None:
    """Descriptor of the lock that the one keeper of a folder holds; None if another holds it."""
    descriptor = os.open(LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    deadline = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, str(os.getpid()).encode(), 0)
            return descriptor
        except BlockingIOError:
            if time.monotonic() > deadline:
                return None
            time.sleep(0.02)


def main() -> None:
    """Entry of the process."""
    parser = argparse.ArgumentParser(prog="remora-line-keeper")
    parser.add_argument("--dir", type=Path, required=True)
    parser.add_argument("--limit", type=int, default=20_000_000_000)
    parser.add_argument("--first-seq", type=int, default=1)
    parser.add_argument("--idle", type=float, default=1.0)
    parser.add_argument("--max-line", type=int, default=MAX_LINE)
    parser.add_argument("--linger", type=float, default=86_400.0)
    options = parser.parse_args()
    os.umask(0o077)
    # Relative names from here on: the path of a socket may have 107 bytes only.
    os.chdir(options.dir)
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    if lock_folder(seconds=2.0) is None:
        sys.exit("another line keeper holds this folder")
    Path(SOCKET).unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(SOCKET)
    listener.listen(16)
    # Files go when they are shipped as a whole: several must fit below the limit.
    file_bytes = min(FILE_BYTES, max(65_536, options.limit // 4))
    writer = SpoolWriter(Path(), options.limit, options.first_seq, file_bytes)
    Keeper(writer, listener, options.idle, options.max_line, options.linger).run()


if __name__ == "__main__":
    main()
