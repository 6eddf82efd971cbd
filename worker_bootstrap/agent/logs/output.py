"""From the attach stream's bytes to masked lines with their streams. Pure but for the time that is passed in."""

from __future__ import annotations

from dataclasses import dataclass, field

from worker_bootstrap.agent.logs.masking import MaskedStream, Masker
from worker_bootstrap.agent.logs.splitting import MAX_LINE, Demuxer, LineSplitter
from worker_bootstrap.agent.logs.spool_writer import Entry


@dataclass
class _Pipe:
    mask: MaskedStream
    split: LineSplitter
    touched: float = 0.0
    began: float = field(default=0.0)


class Output:
    """stdout and stderr of one container."""

    def __init__(self, masker: Masker, idle: float, max_line: int = MAX_LINE) -> None:
        self._demuxer = Demuxer()
        self._idle = idle
        self._pipes = {stream: _Pipe(MaskedStream(masker), LineSplitter(max_line)) for stream in ("stdout", "stderr")}

    def feed(self, data: bytes, now: float) -> list[Entry]:
        """Lines that are complete by now. `now` in seconds of any steady clock."""
        entries: list[Entry] = []
        for stream, piece in self._demuxer.feed(data):
            pipe = self._pipes[stream]
            had = pipe.split.pending
            messages = pipe.split.feed(pipe.mask.feed(piece))
            pipe.touched = now
            if messages or not had:
                pipe.began = now
            if messages:
                entries.append((stream, messages))
        return entries

    def idle(self, now: float) -> list[Entry]:
        """Lines that have begun, for whose end nobody should wait: quiet ones, and progress bars."""
        entries: list[Entry] = []
        for stream, pipe in self._pipes.items():
            if not pipe.split.pending:
                continue
            messages: list[str] = []
            if now - pipe.touched >= self._idle:
                messages = pipe.split.flush()
            elif now - pipe.began >= self._idle:
                messages = pipe.split.flush_progress()
                pipe.began = now
            if messages:
                entries.append((stream, messages))
        return entries

    def hold(self, now: float) -> None:
        """Nobody reads now: quiet that we make ourselves is none."""
        for pipe in self._pipes.values():
            pipe.touched = pipe.began = now

    def finish(self) -> list[Entry]:
        """Everything that is left: the stream has ended."""
        entries: list[Entry] = []
        for stream, pipe in self._pipes.items():
            messages = pipe.split.feed(pipe.mask.flush()) + pipe.split.flush()
            if messages:
                entries.append((stream, messages))
        return entries

    def restart(self) -> None:
        """A new attach stream begins at a frame's start."""
        self._demuxer = Demuxer()
