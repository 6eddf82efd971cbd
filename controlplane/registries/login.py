"""What opens a registry for a while, and why it can't be had."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from controlplane.registries.patterns import Pattern


class LoginError(Exception):
    """No login can be had; the message is a sentence with its remedy. `is_refused`: trying again changes nothing."""

    def __init__(self, message: str, *, is_refused: bool) -> None:
        super().__init__(message)
        self.is_refused = is_refused


@dataclass(frozen=True)
class Login:
    """Name and password for a registry, until `expires` (None: for good)."""

    username: str
    password: str = field(repr=False)
    expires: datetime | None = None


@dataclass(frozen=True)
class Opened:
    """A credential with its secrets in clear, for images of `host`."""

    id: str
    version: int
    organization: str
    type: str
    pattern: Pattern
    is_of_project: bool
    configuration: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True)
class Verdict:
    """What a test of a credential found; `code`: ok | host | no_registry | token | login | right | image | name."""

    ok: bool
    code: str
    message: str
    next_step: str = ""
