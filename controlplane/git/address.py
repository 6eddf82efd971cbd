"""Addresses of repositories: https or ssh, nothing else. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

from controlplane.errors import ValidationError
from controlplane.net.errors import AddressRefusedError
from controlplane.net.urls import PORTS, Target, check_host, parse_url

SCHEMES = frozenset({"https", "ssh"})
# git@host:folder/repository.git; a Windows drive or a name with '::' is none.
SHORT = re.compile(r"(?:(?P<user>[^@:/]+)@)?(?P<host>[^@:/\[\]]{2,}):(?P<path>[^:].*)")
USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")
PATH = re.compile(r"[A-Za-z0-9._~/%+@,=-]+")
DEFAULT_USER = "git"


@dataclass(frozen=True)
class Remote:
    """A repository's place; `url` is what is given to `git`, and never holds a password."""

    url: str
    scheme: str
    host: str
    port: int

    @property
    def place(self) -> tuple[str, str, int]:
        """What credentials and host keys belong to."""
        return self.scheme, self.host, self.port


def parse_remote(text: str) -> Remote:
    """The place that an address names. Raises ValidationError."""
    text = text.strip()
    try:
        target = parse_url(text, SCHEMES, with_user=text.startswith("ssh://")) if "://" in text else _short(text)
    except AddressRefusedError as error:
        raise ValidationError({"url": (f"{error.message} {HELP}", "address_refused")}) from error
    _check(target)
    return Remote(_url(target), target.scheme, target.host, target.port)


HELP = (
    "A repository is reached by https://HOST/PATH, ssh://USER@HOST/PATH or USER@HOST:PATH; "
    "a folder of your own machine is sent by `vh exec run --adhoc`."
)


def _short(text: str) -> Target:
    found = SHORT.fullmatch(text)
    if found is None or not text.isascii():
        raise AddressRefusedError("This is no address of a repository.")
    # As `git` reads it, the path begins in the user's home folder there.
    return Target("ssh", check_host(found["host"]), PORTS["ssh"], found["path"], found["user"] or DEFAULT_USER)


def _check(target: Target) -> None:
    path = target.path
    if not PATH.fullmatch(path) or path.startswith("-") or not path.strip("/") or ".." in path.split("/"):
        raise ValidationError({"url": (f"The path of the repository can't be used. {HELP}", "address_refused")})
    if target.scheme == "ssh" and not USER.fullmatch(target.user or DEFAULT_USER):
        raise ValidationError({"url": (f"The user's name in the address can't be used. {HELP}", "address_refused")})


def _url(target: Target) -> str:
    host = f"[{target.host}]" if ":" in target.host else target.host
    port = "" if target.port == PORTS[target.scheme] else f":{target.port}"
    if target.scheme == "https":
        return f"https://{host}{port}{target.path}"
    user = target.user or DEFAULT_USER
    if target.path.startswith("/"):
        return f"ssh://{user}@{host}{port}{target.path}"
    return f"{user}@{host}:{target.path}"
