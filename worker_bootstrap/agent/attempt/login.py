"""The credential of an attempt's image: asked for when it is pulled, sealed to this machine, kept nowhere."""

from __future__ import annotations

import json
import time

from worker_bootstrap.agent import reasons
from worker_bootstrap.agent.attempt.context import Context
from worker_bootstrap.agent.attempt.errors import infrastructure_error, user_error
from worker_bootstrap.agent.runtime.base import RegistryAuth
from worker_bootstrap.protocol import crypto
from worker_bootstrap.protocol.messages import (
    LOGIN_LATER,
    LOGIN_REFUSED,
    LOGIN_UNREACHABLE,
    UrlItem,
    login_context,
)

AGAIN = 0.5


def ask_login(context: Context) -> RegistryAuth | None:
    """The credential, or None where none fits the image. Raises AttemptError, HaltedError."""
    image = context.job.container.image
    deadline = time.monotonic() + context.config.ask_patience
    while True:
        answer = context.urls([UrlItem("image", "image", image)]).get("image")
        code, _, sentence = (answer.error if answer else "").partition(": ")
        if code != LOGIN_LATER:
            break
        if time.monotonic() > deadline:
            raise infrastructure_error(reasons.IMAGE_PULL_FAILED, "the master got no token for the image's registry")
        context.alive()
        context.pause(AGAIN)
    if code == LOGIN_REFUSED:
        raise user_error(reasons.REGISTRY_LOGIN_FAILED, sentence)
    if code == LOGIN_UNREACHABLE:
        raise infrastructure_error(reasons.IMAGE_PULL_FAILED, sentence)
    if answer is None or not answer.sealed:
        return None
    opened = context.tools.open_sealed(crypto.unb64(answer.sealed), login_context(context.job.attempt, image))
    return RegistryAuth(**json.loads(opened))
