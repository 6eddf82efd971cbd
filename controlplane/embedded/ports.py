"""Free ports of the loopback, remembered between starts."""

from __future__ import annotations

import socket
from pathlib import Path

from controlplane.embedded.files import write_private

LOOPBACK = "127.0.0.1"


def is_free(port: int, address: str = LOOPBACK) -> bool:
    """Whether a program could listen there now."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # As servers do: a port whose old connections still linger counts as free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError:
            return False
    return True


def kept_port(path: Path) -> int:
    """The port in the file while it is free, else another free one, which the file names from now on."""
    if path.exists():
        known = int(path.read_text())
        if is_free(known):
            return known
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port = int(probe.getsockname()[1])
    write_private(path, f"{port}\n")
    return port
