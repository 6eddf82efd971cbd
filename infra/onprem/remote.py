"""A machine reached by ssh: commands with their secrets on standard input, files put at once, errors with a remedy."""

from __future__ import annotations

import asyncio
import json
import shlex
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import asyncssh

T = TypeVar("T")
CONNECT_SECONDS = 20
COMMAND_SECONDS = 600
PUT = 'umask 077 && t=$(mktemp "$1.XXXXXX") && cat >"$t" && chmod "$2" "$t" && mv -f "$t" "$1"'


class RemoteError(Exception):
    """A machine can't be used. The message names it and says what to do."""

    def __init__(self, host: str, sentence: str) -> None:
        super().__init__(f"{host}: {sentence}")
        self.host = host
        self.sentence = sentence


@dataclass(frozen=True)
class Access:
    """How machines are reached; `key` and `known_hosts` are files of whoever runs the installer."""

    user: str
    key: str
    known_hosts: str
    jump: str = ""


@dataclass(frozen=True)
class Place:
    """A machine: name or address, and the port of its sshd."""

    address: str
    port: int
    access: Access

    @property
    def name(self) -> str:
        """As people write it."""
        return self.address if self.port == 22 else f"{self.address}:{self.port}"

    def plain(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Place:
        """Of JSON; numbers may have become floats on their way."""
        return cls(values["address"], int(values["port"]), Access(**values["access"]))


@dataclass(frozen=True)
class Answer:
    """How a command ended."""

    code: int
    out: str
    err: str


class Session:
    """A machine that let us in as root."""

    def __init__(self, place: Place, connection: asyncssh.SSHClientConnection) -> None:
        self.place = place
        self._connection = connection
        self._sudo = [] if place.access.user == "root" else ["sudo", "-n", "--"]

    async def ask(self, words: Sequence[str], given: bytes = b"", seconds: float = COMMAND_SECONDS) -> Answer:
        """A command, however it ends; `given` is its standard input. Raises RemoteError when the machine goes away."""
        command = shlex.join([*self._sudo, *words])
        try:
            done = await self._connection.run(command, input=given, encoding=None, timeout=seconds)
        except asyncssh.TimeoutError as error:
            raise RemoteError(self.place.name, f"`{words[0]}` did not end within {seconds:.0f} s.") from error
        except (asyncssh.Error, OSError) as error:
            raise self._gone(words, str(error)) from error
        if done.exit_status is None or done.exit_status < 0:
            raise self._gone(words, "the connection ended")
        return Answer(done.exit_status, _text(done.stdout), _text(done.stderr))

    async def run(self, words: Sequence[str], given: bytes = b"", what: str = "") -> str:
        """What a command says that must succeed. Raises RemoteError."""
        answer = await self.ask(words, given)
        if answer.code != 0:
            said = answer.err.strip() or answer.out.strip() or f"exit code {answer.code}"
            raise RemoteError(self.place.name, f"{what or words[0]} failed: {said[-1500:]}")
        return answer.out

    async def script(self, text: str, *words: str, what: str) -> str:
        """A script for sh, with its arguments. Raises RemoteError."""
        return await self.run(["sh", "-euc", text, "sh", *words], what=what)

    async def put(self, path: str, content: bytes, mode: int = 0o600) -> None:
        """Replace a file at once; its folder must be there. Raises RemoteError."""
        await self.run(["sh", "-ec", PUT, "sh", path, f"{mode:o}"], content, f"writing {path}")

    async def order(self, program: str, order: str, request: Mapping[str, Any], cache: str) -> Any:
        """What an order to the agent's file about queue or store answers. Raises RemoteError."""
        words = ["env", "PEX_MODULE=worker_bootstrap.hosting", f"PEX_ROOT={cache}", program, order]
        return json.loads(await self.run(words, json.dumps(request).encode(), order))

    def _gone(self, words: Sequence[str], why: str) -> RemoteError:
        sentence = (
            f"it went away during `{words[0]}` ({why}): bring it back, and run `up` again; it goes on from there."
        )
        return RemoteError(self.place.name, sentence)


@asynccontextmanager
async def connected(place: Place) -> AsyncIterator[Session]:
    """A session as root. Raises RemoteError."""
    async with AsyncExitStack() as stack:
        options = _options(place)
        try:
            tunnel = await stack.enter_async_context(_jump(place)) if place.access.jump else None
            connection = await stack.enter_async_context(
                asyncssh.connect(place.address, place.port, username=place.access.user, tunnel=tunnel, **options)
            )
        except (asyncssh.Error, OSError) as error:
            raise RemoteError(place.name, explain(error, place)) from error
        session = Session(place, connection)
        if place.access.user != "root":
            await _may_sudo(session)
        yield session


def explain(error: Exception, place: Place) -> str:
    """Why a connection was not made, and what to do. Pure."""
    access = place.access
    if isinstance(error, asyncssh.HostKeyNotVerifiable):
        scan = f"ssh-keyscan -p {place.port} {place.address}"
        return (
            f"its host key is not the one in {access.known_hosts}: compare it with the machine's own, "
            f"then put it there (`{scan}`)."
        )
    if isinstance(error, asyncssh.PermissionDenied):
        return f"user {access.user} is not let in by the key {access.key}: put its public half on the machine."
    if isinstance(error, asyncio.TimeoutError | asyncssh.TimeoutError | ConnectionError | OSError):
        way = f" through {access.jump}" if access.jump else ""
        return f"no ssh on port {place.port}{way} ({_why(error)}): start the machine and its sshd, or correct `hosts`."
    return f"ssh does not work: {_why(error)}."


def run_apart(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """The result of asynchronous work, also where an event loop runs already. Raises what it raises."""
    with ThreadPoolExecutor(max_workers=1) as pool:
        return pool.submit(lambda: asyncio.run(work())).result()


async def in_parallel(places: Sequence[Place], work: Callable[[Place], Awaitable[T]]) -> list[T | RemoteError]:
    """The result or the error of each machine, in their order."""

    async def one(place: Place) -> T | RemoteError:
        try:
            return await work(place)
        except RemoteError as error:
            return error

    return list(await asyncio.gather(*(one(place) for place in places)))


def _options(place: Place) -> dict[str, Any]:
    """Options of a connection: this key and these host keys alone, nothing from the user's own settings."""
    access = place.access
    known_hosts, key = (Path(one).expanduser() for one in (access.known_hosts, access.key))
    if not known_hosts.is_file():
        raise RemoteError(
            place.name, f"there is no {access.known_hosts}: `ssh-keyscan {place.address}` shows its key to compare."
        )
    return {
        "known_hosts": str(known_hosts),
        "client_keys": [_key(place, key)],
        "agent_path": None,
        "config": None,
        "connect_timeout": CONNECT_SECONDS,
        "keepalive_interval": 10,
        "keepalive_count_max": 3,
    }


def _key(place: Place, path: Path) -> asyncssh.SSHKey:
    try:
        return asyncssh.read_private_key(str(path))
    except OSError as error:
        raise RemoteError(
            place.name, f"the key {place.access.key} can't be read ({error.strerror}): set `access.key`."
        ) from error
    except (asyncssh.KeyEncryptionError, asyncssh.KeyImportError) as error:
        if isinstance(error, asyncssh.KeyEncryptionError) or "passphrase" in str(error).lower():
            raise RemoteError(
                place.name, f"the key {place.access.key} has a passphrase: name a key without one in `access.key`."
            ) from error
        raise RemoteError(
            place.name, f"{place.access.key} is no private key ({error}): set `access.key` to the one for the machines."
        ) from error


def _jump(place: Place) -> Any:
    user, _, host = place.access.jump.rpartition("@")
    address, _, port = host.partition(":")
    middle = Place(address, int(port or 22), place.access)
    return asyncssh.connect(address, middle.port, username=user or place.access.user, **_options(middle))


async def _may_sudo(session: Session) -> None:
    answer = await session.ask(["true"], seconds=CONNECT_SECONDS)
    if answer.code != 0:
        user = session.place.access.user
        raise RemoteError(
            session.place.name,
            f"user {user} may not sudo without a password ({answer.err.strip()}): "
            f"write `{user} ALL=(ALL) NOPASSWD: ALL` into /etc/sudoers.d/{user}, or set `access.user` to root.",
        )


def _why(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__


def _text(raw: Any) -> str:
    return bytes(raw or b"").decode(errors="replace")
