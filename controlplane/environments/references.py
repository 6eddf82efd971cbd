"""References to secrets in an installation document: their values are read when they are used, and never stored.

`env:NAME`, `file:PATH`, `aws:ARN` or `aws:ARN#FIELD` for a field of a secret that is a JSON object.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Protocol

import structlog

from controlplane.clock import Clock
from controlplane.embedded.files import private_folder, write_private
from infra.installation import AccessSpec

log = structlog.get_logger()
# A password that was changed in the cloud counts here after this time at the latest.
FRESH = timedelta(minutes=5)
# A secret store that refuses or is away is asked no more often.
PAUSE = timedelta(seconds=10)


class UnreadableError(RuntimeError):
    """A reference gives no value. `passing`: asking again later may help."""

    def __init__(self, message: str, *, passing: bool = False) -> None:
        super().__init__(message)
        self.passing = passing


class SecretReader(Protocol):
    """A cloud's secret store."""

    def read(self, name: str, access: AccessSpec | None) -> str:
        """The value of a secret. Raises UnreadableError."""
        ...


@dataclass
class _Known:
    """The last value of a secret, and what came of the last question for it."""

    asked: datetime
    value: str = ""
    error: UnreadableError | None = None

    def is_fresh(self, now: datetime) -> bool:
        return now - self.asked < (FRESH if self.error is None else PAUSE)


class References:
    """Reads them. `clouds`: secret stores by kind; `folder`: where PEM texts become files for the client library."""

    def __init__(self, clouds: Mapping[str, SecretReader], folder: Path, clock: Clock) -> None:
        self._clouds = clouds
        self._folder = folder
        self._clock = clock
        self._known: dict[tuple[str, AccessSpec | None], _Known] = {}
        self._lock = threading.Lock()

    def value(self, reference: str, access: AccessSpec | None = None) -> str:
        """What it names; never empty. Raises UnreadableError."""
        kind, _, place = reference.partition(":")
        if kind == "env":
            value = os.environ.get(place, "")
        elif kind == "file":
            value = _text(Path(place))
        elif kind in self._clouds:
            value = self._of_cloud(kind, place, access)
        else:
            known = ", ".join(["env:NAME", "file:PATH", *(f"{name}:SECRET" for name in self._clouds)])
            raise UnreadableError(f"References of kind {kind!r} can't be read here; use one of {known}.")
        if not value:
            raise UnreadableError(f"{reference} gives nothing.")
        return value

    def file(self, place: str, access: AccessSpec | None = None) -> str:
        """A path: `place` itself, or of a private file that holds what the reference names. Raises UnreadableError."""
        if place.partition(":")[0] not in self._clouds:
            return place
        text = self.value(place, access)
        path = self._folder / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.pem"
        if not path.exists():
            private_folder(self._folder)
            write_private(path, text)
        return str(path)

    def _of_cloud(self, kind: str, place: str, access: AccessSpec | None) -> str:
        name, _, field = place.partition("#")
        text = self._whole(kind, name, access)
        if not field:
            return text
        try:
            found = json.loads(text)
            return str(found[field])
        except (ValueError, KeyError, TypeError) as error:
            raise UnreadableError(f"The secret {name} has no field {field}.") from error

    def _whole(self, kind: str, name: str, access: AccessSpec | None) -> str:
        """One question for all fields; a value that was read stays in use while the secret store is away."""
        with self._lock:
            known = self._known.get((f"{kind}:{name}", access))
            now = self._clock()
            if known is None or not known.is_fresh(now):
                known = self._asked(kind, name, access, known, now)
                self._known[(f"{kind}:{name}", access)] = known
        if known.error is not None and not (known.value and known.error.passing):
            raise known.error
        return known.value

    def _asked(self, kind: str, name: str, access: AccessSpec | None, before: _Known | None, now: datetime) -> _Known:
        try:
            return _Known(now, self._clouds[kind].read(name, access))
        except UnreadableError as error:
            log.warning("secret_not_read", secret=name, why=str(error))
            return _Known(now, before.value if before else "", error)


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError as error:
        raise UnreadableError(f"file:{path} can't be read ({error.strerror}).") from error
