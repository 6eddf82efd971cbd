"""What the commands of `remora server` share: settings, database, progress, errors as one sentence."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from sqlalchemy import make_url

from controlplane.db.session import Database, make_engine
from controlplane.embedded.errors import SetupError
from controlplane.errors import DomainError
from controlplane.processes.web import UnsafeBindError
from controlplane.security.vault import VaultError
from controlplane.settings import Settings

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def read_settings() -> Settings:
    """The settings; a wrong one ends the command with a sentence."""
    with told():
        try:
            return Settings()  # pyright: ignore[reportCallIssue]
        except ValueError as error:
            raise SetupError(f"a setting is wrong: {error}") from error


def open_database(settings: Settings) -> Database:
    """The control plane's database. Raises SetupError when there is none yet."""
    url = settings.database_url.get_secret_value()
    file = make_url(url).database if url.startswith("sqlite") else None
    if file and not Path(file).exists():
        raise SetupError(f"there is no control plane in {settings.home} yet: run `remora server up` first.")
    return Database(make_engine(url))


def progress() -> Callable[[str], None]:
    """Says lines with the seconds since now before them."""
    began = time.monotonic()

    def say(text: str) -> None:
        typer.echo(f"[{time.monotonic() - began:3.0f}s] {text}")

    return say


@contextmanager
def told() -> Iterator[None]:
    """Errors that a person can act on, as one message and exit code 1."""
    try:
        yield
    except (SetupError, UnsafeBindError, VaultError) as error:
        typer.echo(f"remora: {error}", err=True)
    except DomainError as error:
        typer.echo(f"remora: {error.message if hasattr(error, 'message') else error}", err=True)
    except OSError as error:
        typer.echo(f"remora: {error.filename or 'the system'}: {error.strerror}", err=True)
    else:
        return
    raise typer.Exit(1)
