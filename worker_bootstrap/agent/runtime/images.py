"""Getting an image onto the machine, with progress."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any

from worker_bootstrap.agent.runtime.base import (
    ContainerRuntimeError,
    Image,
    ImageDeniedError,
    ImageNotFoundError,
    Login,
    Progress,
    PullError,
    RegistryAuth,
)
from worker_bootstrap.agent.runtime.client import EngineClient, NotThereError, RefusedError
from worker_bootstrap.agent.runtime.private import PrivateImages
from worker_bootstrap.protocol.images import parse_image

DENIED_WORDS = (
    "unauthorized", "access denied", "denied:", "no basic auth credentials", "authentication required", "forbidden",
)  # fmt: skip
MISSING_WORDS = ("not found", "manifest unknown", "does not exist", "no such image")
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


class Images:
    """The engine's images; those in `private` are used only by who may pull them now."""

    def __init__(self, client: EngineClient, private: PrivateImages) -> None:
        self._client = client
        self._private = private

    def pull(self, image: str, policy: str, login: Login, progress: Progress) -> Image:
        """The image, fetched by policy always | missing | never.

        Raises ImageNotFoundError, ImageDeniedError, PullError, and what `login` raises.
        """
        found = self._local(image)
        is_private = self._private.covers(image, names_of(found) if found is not None else None)
        if found is not None and not is_private and policy != "always":
            return _shown(image, found)
        if is_private and not self._private.has(image):
            raise ImageNotFoundError(f"{image} is the id of a private image; name it as its registry does")
        if policy == "never":
            why = "is private, and may not be asked for" if is_private else "is not on this machine"
            raise ImageNotFoundError(f"{image} {why} and the group's pull policy is never")
        auth = login()
        if auth is not None:
            self._private.note(image)
        if is_private or "@" in image:
            self._ask(image, auth)
        self._fetch(with_tag(image), auth, progress)
        found = self._local(image)
        if found is None:
            raise PullError(f"{image} was pulled, but the engine does not have it")
        return _shown(image, found)

    def _local(self, image: str) -> dict[str, Any] | None:
        try:
            return self._client.call(lambda api: api.inspect_image(image))
        except NotThereError:
            return None
        except RefusedError as error:
            raise ImageNotFoundError(f"{image}: {error}") from error

    def _ask(self, image: str, auth: RegistryAuth | None) -> None:
        """Whether the image's own registry lets us have it. A pull does not always ask.

        An engine that has a manifest of a wanted digest, from whatever registry, asks nobody for it again.
        """
        try:
            self._client.call(lambda api: api.inspect_distribution(with_tag(image), auth_config=_credential(auth)))
        except (NotThereError, RefusedError) as error:
            raise _failure(image, str(error), auth) from error

    def _fetch(self, image: str, auth: RegistryAuth | None, progress: Progress) -> None:
        credential = _credential(auth)
        progress(f"Pulling image {image}")
        try:
            self._client.call(
                lambda api: _follow(api.pull(image, stream=True, decode=True, auth_config=credential), image, progress)
            )
        except (NotThereError, RefusedError, _SaidError) as error:
            raise _failure(image, str(error), auth) from error


class _SaidError(ContainerRuntimeError):
    """What the engine says in the middle of a pull."""


def _credential(auth: RegistryAuth | None) -> dict[str, str]:
    """Without one it is an empty one: else the client would take one from this machine's own files."""
    return {"username": auth.username, "password": auth.password} if auth else {}


def names_of(details: Mapping[str, Any]) -> list[str]:
    """Every name under which the engine has the image."""
    return [*(details.get("RepoTags") or []), *(details.get("RepoDigests") or [])]


def _shown(image: str, details: Mapping[str, Any]) -> Image:
    """With the digest of the repository that was asked for, where there is one."""
    wanted = parse_image(image).repository
    digests: list[str] = [text for text in details.get("RepoDigests") or [] if parse_image(text).repository == wanted]
    return Image(details["Id"], digests[0] if digests else details["Id"])


def with_tag(image: str) -> str:
    """The image with `:latest` if it names neither tag nor digest: the engine would pull every tag."""
    last = image.rpartition("/")[2]
    return image if ":" in last or "@" in last else f"{image}:latest"


def _follow(steps: Iterable[Any], image: str, progress: Progress) -> None:
    layers, said = Layers(), time.monotonic()
    for step in steps:
        if "error" in step:
            raise _SaidError(str(step["error"]))
        layers.add(step)
        if time.monotonic() - said >= 1.0:
            said = time.monotonic()
            progress(layers.sentence(image))
    progress(f"Pulled image {image}")


def _failure(image: str, sentence: str, auth: RegistryAuth | None) -> ContainerRuntimeError:
    said = sentence.lower()
    text = f"{image}: {sentence}"
    if any(word in said for word in DENIED_WORDS):
        return ImageDeniedError(text, with_login=auth is not None)
    return ImageNotFoundError(text) if any(word in said for word in MISSING_WORDS) else PullError(text)
