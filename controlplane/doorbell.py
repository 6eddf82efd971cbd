"""A knock from the web processes to the loops of the same machine: there is work. Who hears none looks soon anyway."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sqlalchemy import event
from sqlalchemy.orm import Session

NAME = "knock"


@contextmanager
def _address(folder: Path) -> Iterator[str]:
    """The socket's path by way of its folder's descriptor: written out it may be longer than the 107 bytes allowed."""
    opened = os.open(folder, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{opened}/{NAME}"
    finally:
        os.close(opened)


class Doorbell:
    """The side that knocks. `folder` is the one that the loops listen in."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def ring(self) -> None:
        """Knock; lost when nobody listens."""
        with (
            suppress(OSError),
            _address(self._folder) as address,
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as knocking,
        ):
            knocking.setblocking(False)
            knocking.sendto(b"", address)

    def ring_after(self, session: Session) -> None:
        """Knock once this transaction is committed: before, there is nothing to be seen."""
        event.listen(session, "after_commit", lambda _: self.ring(), once=True)


def listen(folder: Path, heard: Callable[[], None], stop: threading.Event) -> None:
    """Call `heard` at each knock, until `stop` is set. Raises OSError when it can't listen there."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening, _address(folder) as address:
        (folder / NAME).unlink(missing_ok=True)
        listening.bind(address)
        listening.settimeout(1.0)
        while not stop.is_set():
            with suppress(TimeoutError):
                listening.recv(1)
                heard()
