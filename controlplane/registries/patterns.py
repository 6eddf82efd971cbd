"""Which credential an image gets: patterns, and which of them is the nearest. Pure.

A pattern is a glob on the whole name of an image: `docker.io/team/*`, `registry.example:5000/vision/train-?:*`. Its
host is written out: a pattern for any host would hand the password to whatever host an execution names.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Protocol, TypeVar

from worker_bootstrap.protocol.images import DEFAULT_HOST, OTHER_NAMES, ImageName

WILD = re.compile(r"[*?\[]")
ALLOWED = re.compile(r"[\w./:@*?\[\]!-]{1,255}", re.ASCII)
HOST = re.compile(r"(?=.{1,255}\Z)([a-z0-9]([a-z0-9-]*[a-z0-9])?\.)*[a-z0-9]([a-z0-9-]*[a-z0-9])?(:[0-9]{1,5})?")


class PatternError(ValueError):
    """This is no pattern that can be kept; the message is a sentence."""


@dataclass(frozen=True)
class Pattern:
    """A host, which may have wildcards where a cloud owns all that fit, and a glob on the rest of the name."""

    host: str
    path: str

    def fits(self, image: ImageName) -> bool:
        """Whether an image's name fits, with its tag or digest or without."""
        if not _host_fits(self.host, image.host):
            return False
        names = (image.path, f"{image.path}:{image.tag or 'latest'}", f"{image.path}@{image.digest}")
        return any(fnmatchcase(name, self.path) for name in names)

    @property
    def nearness(self) -> tuple[int, int, int]:
        """Larger is nearer: what is written out up to the first wildcard, then in all, then with fewer wildcards."""
        text = str(self)
        first = WILD.search(text)
        wild = len(WILD.findall(text))
        return (first.start() if first else len(text) + 1, len(text) - wild, -wild)

    @property
    def image(self) -> str:
        """The one image that fits, or empty."""
        return "" if WILD.search(str(self)) else str(self)

    def __str__(self) -> str:
        return f"{self.host}/{self.path}"


def parse_pattern(text: str, wild_hosts: re.Pattern[str] | None = None) -> Pattern:
    """The pattern. Raises PatternError; a host with a wildcard must be one of `wild_hosts`."""
    if not ALLOWED.fullmatch(text):
        raise PatternError("1 to 255 letters, digits and '. / : @ - _', with '*', '?' and '[…]' as wildcards.")
    first, slash, rest = text.partition("/")
    if WILD.search(first) and wild_hosts is not None and slash and wild_hosts.fullmatch(first):
        return Pattern(first, rest)
    if slash and ("." in first or ":" in first or first == "localhost" or WILD.search(first)):
        host, path = OTHER_NAMES.get(first.lower(), first.lower()), rest
    else:
        host, path = DEFAULT_HOST, text
    if host == DEFAULT_HOST and path and "/" not in path and not WILD.match(path):
        path = f"library/{path}"
    if WILD.search(host) or not slash and WILD.match(text):
        raise PatternError("Write the registry's host out: any host that fits would be given the password.")
    if not HOST.fullmatch(host) or not path:
        raise PatternError("A registry's host, a '/' and the images: like 'registry.example:5000/team/*'.")
    return Pattern(host, path)


class Credential(Protocol):
    """What is chosen among."""

    @property
    def id(self) -> str:
        """Newer ones are larger."""
        ...

    @property
    def pattern(self) -> Pattern:
        """What its images are called."""
        ...

    @property
    def is_of_project(self) -> bool:
        """Whether it is for one project only."""
        ...


Found = TypeVar("Found", bound=Credential)


def nearest(credentials: Iterable[Found], image: ImageName) -> Found | None:
    """The project's own before the organisation's, then the nearest pattern, then the newest credential."""
    fitting = [entry for entry in credentials if entry.pattern.fits(image)]
    return max(fitting, key=lambda entry: (entry.is_of_project, entry.pattern.nearness, entry.id), default=None)


def _host_fits(pattern: str, host: str) -> bool:
    """`*` in a host stands for a part of a label, never for a dot or a port."""
    if not WILD.search(pattern):
        return pattern == host
    labels = "".join("[a-z0-9-]+" if char == "*" else re.escape(char) for char in pattern)
    return re.fullmatch(labels, host) is not None
