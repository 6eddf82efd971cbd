"""The attempt's log, as its other parts see it: the keeper's process and the shipper's thread behind one door."""

from __future__ import annotations

import io
from pathlib import Path

from worker_bootstrap.agent.attempt.errors import AttemptError, HaltedError
from worker_bootstrap.agent.attempt.upload import (
    BadNameError,
    SourceChangedError,
    StoreAwayError,
    SupersededError,
    Uploader,
)
from worker_bootstrap.agent.link import Link
from worker_bootstrap.agent.log import logger
from worker_bootstrap.agent.logs.keeper_client import KeeperClient
from worker_bootstrap.agent.logs.shipper import Shipper
from worker_bootstrap.agent.logs.tail import RedisTail
from worker_bootstrap.agent.logs.types import Emit, KeeperError, LogPolicy, Shipped, Tail, Upload, UploadError
from worker_bootstrap.protocol import names

DRAIN_AFTER_END = 30.0


class AttemptLog:
    """Opened at the attempt's start and after each restart of the agent."""

    def __init__(self, folder: Path, limit: int, first_seq: int, secrets: list[str], engine: str) -> None:
        self._folder = folder
        self._keeper = KeeperClient(folder, limit=limit, first_seq=first_seq)
        self._secrets = secrets
        self._engine = engine
        self._container = ""
        self._attached = False
        self._shipper: Shipper | None = None

    def open(self, tail: Tail, upload: Upload, emit: Emit, policy: LogPolicy) -> None:
        """Start keeper and shipper. Raises KeeperError."""
        if self._keeper.done() is None:
            self._keeper.spawn()
            self._keeper.mask(self._secrets)
        self._shipper = Shipper(self._folder, tail=tail, upload=upload, emit=emit, policy=policy)
        self._shipper.start()

    def status(self, sentence: str) -> None:
        """A line of our own in the log; a keeper that does not answer costs this line only."""
        try:
            self._keeper.status(sentence)
        except KeeperError as error:
            logger.warning("status line lost: %s (%s)", sentence, error)

    def attach(self, container: str) -> None:
        """Take this container's output. Raises KeeperError."""
        self._container = container
        self._keeper.attach(container, self._engine)
        self._attached = True

    def ensure(self, container: str) -> None:
        """Bring a lost keeper back; the gap is marked in the log."""
        self._container = container
        alive = self._keeper.alive()
        if self._keeper.done() is not None or (alive and self._attached):
            return
        try:
            if not alive:
                self._attached = False
                self._keeper.spawn()
                self._keeper.mask(self._secrets)
            state = self._keeper.state()
            if not state.attached and not state.eof:
                self._keeper.attach(container, self._engine)
            self._attached = True
        except KeeperError as error:
            logger.warning("the line keeper is away: %s", error)

    def release(self, more: int | None = None) -> None:
        """Take output beyond the spool's limit, `more` bytes or all of it.

        The engine answers nothing about an ended container whose output nobody takes.
        """
        try:
            self._keeper.release(more)
        except KeeperError as error:
            logger.warning("the line keeper is away: %s", error)

    def blocked(self) -> bool:
        """Whether the spool is full, so that nobody takes the container's output."""
        try:
            return self._keeper.state().blocked
        except KeeperError:
            return False

    def last_output(self) -> float:
        """When the container last wrote a line (seconds since the epoch); 0 before the first."""
        moment = self._shipper.last_output() if self._shipper is not None else None
        return moment.timestamp() if moment is not None else 0.0

    def drain(self) -> None:
        """Wait until all output of the ended container is on disk."""
        self.ensure(self._container)
        try:
            self._keeper.drain(DRAIN_AFTER_END)
        except KeeperError as error:
            logger.warning("the line keeper is away: %s", error)

    def close(self, patience: float) -> Shipped | None:
        """End keeper and shipper; None while lines are still to be shipped (call again)."""
        try:
            self._keeper.finish(patience)
        except KeeperError as error:
            logger.warning("the line keeper did not finish: %s", error)
        return self._shipper.finish(patience) if self._shipper is not None else None

    def abandon(self) -> None:
        """Nothing of this log is wanted any more."""
        self.halt()
        self._keeper.kill()

    def halt(self) -> None:
        """The agent ends: the shipper stops where it is, the keeper lives on."""
        if self._shipper is not None:
            self._shipper.stop()


class SegmentUpload:
    """`Upload` of the log parts: one object, by a signed address. Superseded attempts' objects are let go."""

    def __init__(self, uploader: Uploader) -> None:
        self._uploader = uploader

    def __call__(self, name: str, data: bytes) -> str:
        """The object's key. Raises UploadError."""
        try:
            return self._uploader.store(name, io.BytesIO(data), len(data), may_exist=True, alive=lambda: None)[0]
        except SupersededError:
            return ""
        except (AttemptError, BadNameError, HaltedError, SourceChangedError, StoreAwayError) as error:
            raise UploadError(str(error)) from error


def live_tail(link: Link, attempt: str) -> Tail:
    """The attempt's newest lines on the queue, signed by this worker."""
    return RedisTail(lambda: link.client, names.tail(link.worker, attempt), link.signing_key)
