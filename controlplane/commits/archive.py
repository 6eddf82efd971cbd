"""Ad-hoc code archives: looked through before anything is believed; nothing is unpacked here."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from controlplane.commits.tar import FILE, FOLDER, HARDLINK, SYMLINK, BadTarError, Entry, Inflater, entries
from controlplane.errors import ValidationError

MAX_ENTRIES = 100_000
MAX_UNPACKED = 5_000_000_000
MAX_RATIO = 200
RATIO_FLOOR = 50_000_000
MAX_NAME = 4096
MAX_PART = 255


def read_yaml(archive: Path, yaml_path: str, max_yaml: int, max_unpacked: int = MAX_UNPACKED) -> bytes:
    """Bytes of the configuration file `yaml_path`, every entry of the tar.gz checked on the way.

    Raises ValidationError naming the entry: absolute or climbing names, links that leave the archive or are written
    through, devices, entries that stand twice, too many or too large ones.
    """
    wanted = str(PurePosixPath(yaml_path))
    limit = min(max_unpacked, max(RATIO_FLOOR, archive.stat().st_size * MAX_RATIO))
    found: bytes | None = None
    seen = _Seen()
    try:
        with archive.open("rb") as packed:
            stream = Inflater(packed, limit)
            for count, entry in enumerate(entries(stream), start=1):
                if count > MAX_ENTRIES:
                    raise BadTarError(f"has more than {MAX_ENTRIES} entries")
                name = _check(entry)
                seen.add(name, entry)
                if name == wanted and entry.kind == FILE:
                    if entry.size > max_yaml:
                        message = f"{wanted} has {entry.size} bytes; the limit is {max_yaml}."
                        raise ValidationError({"yaml_path": (message, "too_large")})
                    found = stream.read(entry.size)
            seen.check_links()
    except BadTarError as error:
        raise ValidationError({"data": (f"The code archive {error}.", "bad_archive")}) from error
    if found is None:
        message = f"The archive has no file {wanted}; add one, or name another file as yaml_path."
        raise ValidationError({"yaml_path": (message, "not_found")})
    return found


class _Seen:
    """Names so far: an entry stands once, and nothing lies below a link or a file."""

    def __init__(self) -> None:
        self._kinds: dict[str, str] = {}
        self._hardlinks: list[tuple[str, str]] = []

    def add(self, name: str, entry: Entry) -> None:
        before = self._kinds.get(name)
        if before is not None and not (before == FOLDER and entry.kind == FOLDER):
            raise BadTarError(f"has an entry twice: {name[:200]!r}")
        self._kinds[name] = entry.kind
        if entry.kind == HARDLINK:
            self._hardlinks.append((name, str(PurePosixPath(entry.target))))

    def check_links(self) -> None:
        for name in self._kinds:
            parent = name.rpartition("/")[0]
            if parent and self._kinds.get(parent, FOLDER) != FOLDER:
                raise BadTarError(f"has an entry below what is no folder: {name[:200]!r}")
            if parent and parent not in self._kinds:
                self._check_unlisted(name, parent)
        for name, target in self._hardlinks:
            if self._kinds.get(target) != FILE:
                raise BadTarError(f"has a hard link to what is no file in it: {name[:200]!r}")

    def _check_unlisted(self, name: str, parent: str) -> None:
        """A folder that no entry names may itself lie below a link."""
        while parent := parent.rpartition("/")[0]:
            kind = self._kinds.get(parent)
            if kind == FOLDER:
                return
            if kind is not None:
                raise BadTarError(f"has an entry below what is no folder: {name[:200]!r}")


def _check(entry: Entry) -> str:
    """The entry's name in its plain form."""
    name = _plain(entry.name, "an entry")
    if entry.kind in (SYMLINK, HARDLINK):
        base = PurePosixPath(name).parent if entry.kind == SYMLINK else PurePosixPath()
        if _leaves(base, entry.target):
            raise BadTarError(f"has a link that leaves it: {entry.name[:200]!r} -> {entry.target[:200]!r}")
    return name


def _plain(name: str, what: str) -> str:
    parts = name.split("/")
    if not name or name.startswith("/") or ".." in parts or "\\" in name:
        raise BadTarError(f"has {what} that leaves it: {name[:200]!r}")
    if any(ord(char) < 32 or char == "\x7f" for char in name):
        raise BadTarError(f"has {what} with a control character in its name: {name[:200]!r}")
    if len(name.encode()) > MAX_NAME or any(len(part.encode()) > MAX_PART for part in parts):
        raise BadTarError(f"has {what} whose name is too long: {name[:80]!r}…")
    return str(PurePosixPath(name))


def _leaves(base: PurePosixPath, target: str) -> bool:
    """Whether a link of folder `base` can point outside. `..` may only stand first: after a name it would climb
    from wherever that name, itself a link perhaps, leads to.
    """
    if not target or target.startswith("/") or "\\" in target or "\0" in target or len(target.encode()) > MAX_NAME:
        return True
    left, named = len(base.parts), False
    for part in target.split("/"):
        if part == "..":
            left -= 1
            if named or left < 0:
                return True
        elif part not in (".", ""):
            named = True
    return False
