"""Names of images as engines read them: registry, repository, tag or digest. Pure."""

from __future__ import annotations

from dataclasses import dataclass

DEFAULT_HOST = "docker.io"
OTHER_NAMES = {"index.docker.io": DEFAULT_HOST, "registry-1.docker.io": DEFAULT_HOST}


@dataclass(frozen=True)
class ImageName:
    """A name taken apart; what a short name leaves out is filled in (`python` is `docker.io/library/python`)."""

    host: str
    path: str
    tag: str = ""
    digest: str = ""

    @property
    def repository(self) -> str:
        """Without tag and digest."""
        return f"{self.host}/{self.path}"

    @property
    def reference(self) -> str:
        """What a registry is asked for: the digest, the tag, or `latest`."""
        return self.digest or self.tag or "latest"

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        return f"{self.repository}{tag}" + (f"@{self.digest}" if self.digest else "")


def parse_image(text: str) -> ImageName:
    """The parts of an image's name; of what is none, some parts are empty."""
    rest, _, digest = text.partition("@")
    head, slash, tail = rest.rpartition("/")
    name, _, tag = tail.partition(":")
    host, path = _host_and_path(f"{head}{slash}{name}")
    return ImageName(host, path, tag, digest)


def _host_and_path(name: str) -> tuple[str, str]:
    """An engine takes the first part for a registry when it looks like a host."""
    first, slash, rest = name.partition("/")
    if not slash or not ("." in first or ":" in first or first == "localhost"):
        host, path = DEFAULT_HOST, name
    else:
        host = OTHER_NAMES.get(first.lower(), first.lower())
        path = rest
    if host == DEFAULT_HOST and "/" not in path:
        path = f"library/{path}"
    return host, path
