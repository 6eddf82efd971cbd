"""How `git` gets to a repository: the vetted address pinned, the secret in files that are gone afterwards.

No secret stands in an argument, in the environment, in an address or in a log.
"""

from __future__ import annotations

import ipaddress
import shlex
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from controlplane.git.address import Remote
from controlplane.git.command import Caps, run_program
from controlplane.git.errors import GitError
from controlplane.git.keys import strongest
from controlplane.net.errors import AddressRefusedError
from controlplane.net.reach import Reach

ALIAS = "remora-repository"
CONNECT_SECONDS = 20
SCAN_SECONDS = 30.0
TEMPORARY = "tmp-"


@dataclass(frozen=True)
class Credentials:
    """`token` with a user's name for https; a private key and the pinned host key for ssh. Never printed."""

    user: str = ""
    token: str = field(default="", repr=False)
    private_key: str = field(default="", repr=False)
    host_key: str = ""


@dataclass(frozen=True)
class Access:
    """What `git` is started with."""

    home: Path
    environment: dict[str, str]
    configuration: dict[str, str]


@contextmanager
def opened(
    remote: Remote, credentials: Credentials, reach: Reach, folder: Path, ca_bundle: Path | None = None
) -> Iterator[Access]:
    """Access to a repository while the block runs. Raises GitError for an address that may not be used."""
    address = pinned(remote, reach)
    with empty_folder(folder) as home:
        if remote.scheme == "https":
            yield _https(remote, credentials, address, home, ca_bundle)
        else:
            yield _ssh(credentials, address, home)


def pinned(remote: Remote, reach: Reach) -> list[str]:
    """The addresses that may be connected to. Raises GitError."""
    try:
        return reach.addresses(remote.host, remote.port)
    except AddressRefusedError as error:
        raise GitError("git_address_refused", host=remote.host) from error


@contextmanager
def empty_folder(folder: Path) -> Iterator[Path]:
    """A folder that only this user may enter, and that is gone afterwards."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix=TEMPORARY, dir=folder))
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


def sweep(folder: Path) -> None:
    """Remove what a process left that was killed. Only for who holds the folder's lock."""
    for left in folder.glob(f"{TEMPORARY}*"):
        shutil.rmtree(left, ignore_errors=True)


def scan_host_key(remote: Remote, reach: Reach, folder: Path) -> str:
    """The strongest host key that the server shows now. Raises GitError."""
    said: list[bytes] = []
    _check_client()
    arguments = ["ssh-keyscan", "-T", "10", "-p", str(remote.port), "-t", "ed25519,ecdsa,rsa", pinned(remote, reach)[0]]
    with empty_folder(folder) as home:
        caps = Caps(SCAN_SECONDS, home, 1_000_000)
        run_program(arguments, caps, home=home, environment={"LC_ALL": "C"}, out=said.append, told=lambda _: None)
    found = strongest(b"".join(said).decode("utf-8", "replace"))
    if not found:
        raise GitError("git_unreachable")
    return found


def _https(
    remote: Remote, credentials: Credentials, addresses: list[str], home: Path, ca_bundle: Path | None
) -> Access:
    configuration = {"http.sslCAInfo": str(ca_bundle)} if ca_bundle else {}
    if ":" not in remote.host:
        configuration["http.curloptResolve"] = f"{remote.host}:{remote.port}:{','.join(map(_literal, addresses))}"
    environment = {"GIT_ALLOW_PROTOCOL": "https", "GIT_ASKPASS": "/bin/false"}
    if credentials.token:
        user, token = _secret(home, "user", credentials.user), _secret(home, "token", credentials.token)
        ask = home / "askpass"
        ask.touch(mode=0o700)
        ask.write_text(
            f'#!/bin/sh\ncase "$1" in\nUsername*) cat {shlex.quote(str(user))} ;;\n'
            f"*) cat {shlex.quote(str(token))} ;;\nesac\n"
        )
        environment["GIT_ASKPASS"] = str(ask)
    return Access(home, environment, configuration)


def _ssh(credentials: Credentials, addresses: list[str], home: Path) -> Access:
    _check_client()
    if not credentials.private_key:
        raise GitError("git_auth_failed")
    known = _secret(home, "known_hosts", f"{ALIAS} {credentials.host_key}\n")
    key = _secret(home, "key", credentials.private_key)
    options = {
        "BatchMode": "yes",
        "CheckHostIP": "no",
        "ClearAllForwardings": "yes",
        "ConnectTimeout": str(CONNECT_SECONDS),
        "ControlMaster": "no",
        "ControlPath": "none",
        "ForwardAgent": "no",
        "GlobalKnownHostsFile": "/dev/null",
        "HostKeyAlias": ALIAS,
        "HostName": addresses[0],
        "IdentitiesOnly": "yes",
        "IdentityAgent": "none",
        "IdentityFile": str(key),
        "PermitLocalCommand": "no",
        "PreferredAuthentications": "publickey",
        "ProxyCommand": "none",
        "ServerAliveInterval": "15",
        "StrictHostKeyChecking": "yes",
        "UpdateHostKeys": "no",
        "UserKnownHostsFile": str(known),
    }
    command = ["ssh", "-F", "/dev/null"]
    for name, value in options.items():
        command += ["-o", f"{name}={value}"]
    environment = {"GIT_ALLOW_PROTOCOL": "ssh", "GIT_SSH_COMMAND": shlex.join(command), "GIT_SSH_VARIANT": "ssh"}
    return Access(home, environment, {})


def _check_client() -> None:
    if shutil.which("ssh") is None or shutil.which("ssh-keyscan") is None:
        raise GitError("git_no_ssh")


def _secret(home: Path, name: str, text: str) -> Path:
    path = home / name
    path.touch(mode=0o600)
    path.write_text(text)
    return path


def _literal(address: str) -> str:
    return f"[{address}]" if isinstance(ipaddress.ip_address(address), ipaddress.IPv6Address) else address
