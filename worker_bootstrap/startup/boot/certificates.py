"""An authority of the queue's own, and certificates by it, made with the distribution's openssl.

Ten years each: a machine that replaces the queue's makes a new one for the server; the others stand in secrets.
"""

from __future__ import annotations

import ipaddress
import secrets
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from worker_bootstrap.startup.boot.steps import command

DAYS = "3650"
CONFIG = """\
[req]
distinguished_name = name
[name]
[ca]
basicConstraints = critical, CA:TRUE, pathlen:0
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
[leaf]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = {usage}
authorityKeyIdentifier = keyid
{names}
"""
NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


@dataclass(frozen=True)
class Pair:
    """PEM texts of a certificate and its key."""

    certificate: str
    key: str = field(repr=False)


def authority(name: str) -> Pair:
    """A new authority. Raises StepError."""
    with _folder(CONFIG.format(usage="clientAuth", names="")) as folder:
        _request(folder, "-x509", "-days", DAYS, "-subj", f"/CN={name}", "-extensions", "ca", "-out", "certificate")
        return _pair(folder)


def server(ca: Pair, hosts: Sequence[str]) -> Pair:
    """For the names and addresses by which the server is reached. Raises StepError."""
    names = ",".join(f"{'IP' if _is_address(host) else 'DNS'}:{host}" for host in hosts)
    return _signed(ca, "queue", CONFIG.format(usage="serverAuth", names=f"subjectAltName = {names}"))


def client(ca: Pair, name: str) -> Pair:
    """For whoever connects. Raises StepError."""
    return _signed(ca, name, CONFIG.format(usage="clientAuth", names=""))


def _signed(ca: Pair, name: str, config: str) -> Pair:
    with _folder(config) as folder:
        Path(folder, "ca").write_text(ca.certificate)
        Path(folder, "ca.key").write_text(ca.key)
        _request(folder, "-new", "-subj", f"/CN={name}", "-out", "request")
        serial = f"0x{secrets.token_hex(16)}"
        words = ["-req", "-in", "request", "-CA", "ca", "-CAkey", "ca.key", "-set_serial", serial, "-days", DAYS]
        command(
            "openssl", "x509", *words, "-extfile", "config", "-extensions", "leaf", "-out", "certificate", at=folder
        )
        return _pair(folder)


def _folder(config: str) -> tempfile.TemporaryDirectory[str]:
    """In memory, for root only: keys are never on a disk before they are in their place."""
    folder = tempfile.TemporaryDirectory(dir="/run")
    Path(folder.name, "config").write_text(config)
    return folder


def _request(folder: str, *words: str) -> None:
    command("openssl", "req", "-config", "config", "-keyout", "key", *NEW_KEY, *words, at=folder)


def _pair(folder: str) -> Pair:
    return Pair(Path(folder, "certificate").read_text(), Path(folder, "key").read_text())


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


@contextmanager
def files(pair: Pair) -> Iterator[tuple[str, str]]:
    """Files of certificate and key, in memory, until the end of the block."""
    with _folder("") as folder:
        for name, text in (("certificate", pair.certificate), ("key", pair.key)):
            Path(folder, name).write_text(text)
        yield f"{folder}/certificate", f"{folder}/key"
