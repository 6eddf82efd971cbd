"""What is looked at to see where data goes: files that hold it, ports that others reach."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path

from fixtures.ssh_hosts import SshHost

MIB = 1 << 20
# Turns its input round, and says three mebibytes of it. It goes on until somebody in the container lets it end.
TURN = f"""python - <<'END'
import base64, pathlib, time
[file] = pathlib.Path("/valohai/inputs/data").iterdir()
data = file.read_bytes()
pathlib.Path("/valohai/outputs/turned.bin").write_bytes(data[::-1])
text = base64.b64encode(data[:{3 * MIB}]).decode()
for first in range(0, len(text), 96):
    print(text[first : first + 96])
while not pathlib.Path("/tmp/end").exists():
    time.sleep(0.1)
END"""
LET_END = "docker exec $(docker ps -q) touch /tmp/end"


def files_with(folder: Path, *texts: bytes) -> list[str]:
    """Files below `folder` that hold one of these texts, as they are or compressed by gzip."""
    return [str(path) for path in _files(folder) if any(text in _contents(path) for text in texts)]


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file() and not path.is_symlink())


def _contents(path: Path) -> bytes:
    try:
        data = path.read_bytes()
        return data + gzip.decompress(data) if data.startswith(b"\x1f\x8b") else data
    except (OSError, EOFError, zlib.error):
        # Gone or growing just now: it is judged by what there is.
        return data if path.exists() else b""


def listening(host: SshHost) -> set[tuple[str, int]]:
    """(address, port) of TCP and UDP that are not of the loopback."""
    shown = host.ask_network("ss", "-Htuln")
    assert shown.returncode == 0, shown.stderr
    rows = [line.split()[4].rpartition(":") for line in shown.stdout.splitlines()]
    places = {(address.strip("[]").partition("%")[0], int(port)) for address, _, port in rows}
    return {(address, port) for address, port in places if not address.startswith("127.") and address != "::1"}


def reaches(host: SshHost, address: str, port: int, by: str) -> bool:
    """Whether a machine gets a connection to what is behind another one, when it takes the way `by` that one."""
    made = host.ask_network("ip", "route", "replace", f"{address}/32", "via", by)
    assert made.returncode == 0, made.stderr
    try:
        return connects(host, address, port)
    finally:
        host.ask_network("ip", "route", "del", f"{address}/32")


def connects(host: SshHost, address: str, port: int) -> bool:
    """Whether a machine gets a connection."""
    return host.ask("timeout", "3", "bash", "-c", f"exec 3<>/dev/tcp/{address}/{port}").returncode == 0
