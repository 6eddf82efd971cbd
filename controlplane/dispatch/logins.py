"""Credentials for the images of attempts: for the image that the job names, sealed to the worker that runs it."""

from __future__ import annotations

import importlib
import json
from functools import cached_property
from typing import TYPE_CHECKING

from sqlalchemy.orm import Session

from controlplane.clock import Clock
from controlplane.environments.models import Worker
from controlplane.executions.models import Attempt, Execution
from controlplane.registries.login import LoginError
from controlplane.registries.opening import credential_for, opened
from controlplane.security.vault import Vault, VaultError
from controlplane.settings import Settings
from worker_bootstrap.protocol import crypto
from worker_bootstrap.protocol.images import parse_image
from worker_bootstrap.protocol.messages import (
    LOGIN_LATER,
    LOGIN_REFUSED,
    LOGIN_UNREACHABLE,
    UrlItem,
    login_context,
)

if TYPE_CHECKING:
    from controlplane.registries.logins import LoginMemory

WAIT = 0.2


class LoginDesk:
    """Answers questions for the credential of an image. One for all installations: they share what is remembered."""

    def __init__(self, vault: Vault, settings: Settings, clock: Clock) -> None:
        self._vault = vault
        self._settings = settings
        self._clock = clock

    def answer(self, session: Session, worker: Worker, attempt: Attempt, execution: Execution, name: str) -> UrlItem:
        """The sealed credential; neither that nor an error where none fits. `name` must be the image of the job."""
        image = json.loads(attempt.job or b"{}").get("container", {}).get("image", "")
        if not image or name != image:
            return UrlItem("", "image", name, error="denied")
        parsed = parse_image(image)
        row = credential_for(session, execution, parsed)
        if row is None:
            return UrlItem("", "image", name)
        try:
            login = self._memory.get(opened(row, self._vault), parsed.host, WAIT)
        except LoginError as error:
            code = LOGIN_REFUSED if error.is_refused else LOGIN_UNREACHABLE
            return UrlItem("", "image", name, error=f"{code}: {row.image_pattern}: {error}")
        except VaultError:
            why = "the secrets of this credential do not open any more; type them again"
            return UrlItem("", "image", name, error=f"{LOGIN_REFUSED}: {row.image_pattern}: {why}.")
        if login is None:
            return UrlItem("", "image", name, error=LOGIN_LATER)
        raw = json.dumps({"username": login.username, "password": login.password}).encode()
        box = crypto.seal(crypto.unb64(worker.seal_key), raw, login_context(attempt.id, image))
        return UrlItem("", "image", name, sealed=crypto.b64(box))

    @cached_property
    def _memory(self) -> LoginMemory:
        # Loaded when the first credential is used: its HTTP client takes 20 MB in a process that may never need it.
        logins = importlib.import_module("controlplane.registries.logins")
        return logins.memory_of(self._settings, self._clock)
