"""Getting an image onto the machine, with progress."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

from worker_bootstrap.agent.runtime.base import ImageNotFoundError, Progress, PullError, RegistryAuth
from worker_bootstrap.agent.runtime.client import EngineClient, NotThereError, RefusedError

MISSING_WORDS = ("not found", "manifest unknown", "does not exist", "access denied", "no such image", "unauthorized")
MEGABYTE = 1_000_000


class Layers:
    """Sums the progress of an image's layers. Pure."""

    def __init__(self) -> None:
        self._bytes: dict[str, tuple[int, int]] = {}

    def add(self, step: dict[str, Any]) -> None:
        """Take one message of the engine."""
        detail = step.get("progressDetail") or {}
        layer = step.get("id", "")
        if step.get("status") == "Downloading" and detail.get("total"):
            self._bytes[layer] = (int(detail.get("current", 0)), int(detail["total"]))
        elif step.get("status") in ("Download complete", "Pull complete") and layer in self._bytes:
            total = self._bytes[layer][1]
            self._bytes[layer] = (total, total)

    def sentence(self, image: str) -> str:
        """Where it stands."""
        done = sum(current for current, _ in self._bytes.values()) / MEGABYTE
        total = sum(total for _, total in self._bytes.values()) / MEGABYTE
        return f"Pulling image {image}: {done:.0f} of {total:.0f} MB" if total else f"Pulling image {image}"


def pull(client: EngineClient, image: str, policy: str, auth: RegistryAuth | None, progress: Progress) -> str:
    """Digest or id of the image, fetched by policy always | missing | never. Raises ImageNotFoundError, PullError."""
    found = _local(client, image)
    if found and policy != "always":
        return found
    if policy == "never":
        raise ImageNotFoundError(f"{image} is not on this machine and the group's pull policy is never")
    _fetch(client, with_tag(image), auth, progress)
    found = _local(client, image)
    if not found:
        raise PullError(f"{image} was pulled, but the engine does not have it")
    return found


def with_tag(image: str) -> str:
    """The image with `:latest` if it names neither tag nor digest: the engine would pull every tag."""
    last = image.rpartition("/")[2]
    return image if ":" in last or "@" in last else f"{image}:latest"


def _local(client: EngineClient, image: str) -> str:
    try:
        details = client.call(lambda api: api.inspect_image(image))
    except NotThereError:
        return ""
    except RefusedError as error:
        raise ImageNotFoundError(f"{image}: {error}") from error
    digests = details.get("RepoDigests") or []
    return str(digests[0] if digests else details["Id"])


def _fetch(client: EngineClient, image: str, auth: RegistryAuth | None, progress: Progress) -> None:
    credentials = {"username": auth.username, "password": auth.password} if auth else None
    progress(f"Pulling image {image}")
    try:
        client.call(
            lambda api: _follow(api.pull(image, stream=True, decode=True, auth_config=credentials), image, progress)
        )
    except NotThereError as error:
        raise ImageNotFoundError(f"{image}: {error}") from error
    except RefusedError as error:
        raise _failure(image, str(error)) from error


def _follow(steps: Iterable[Any], image: str, progress: Progress) -> None:
    layers, said = Layers(), time.monotonic()
    for step in steps:
        if "error" in step:
            raise _failure(image, str(step["error"]))
        layers.add(step)
        if time.monotonic() - said >= 1.0:
            said = time.monotonic()
            progress(layers.sentence(image))
    progress(f"Pulled image {image}")


def _failure(image: str, sentence: str) -> ImageNotFoundError | PullError:
    missing = any(word in sentence.lower() for word in MISSING_WORDS)
    return ImageNotFoundError(f"{image}: {sentence}") if missing else PullError(f"{image}: {sentence}")
