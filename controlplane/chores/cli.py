"""`remora server chores`: what the control plane did for itself, and asking for it now."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from controlplane.chores.kinds import Kinds
from controlplane.chores.models import FINISHED, Chore
from controlplane.chores.registry import KINDS
from controlplane.chores.service import ChoreService
from controlplane.clock import api_time
from controlplane.db.session import SYSTEM, Database
from controlplane.embedded.errors import SetupError
from controlplane.settings import Settings
from controlplane.terminal import AsJson, open_database, progress, read_settings, told

app = typer.Typer(name="chores", help="What the control plane does for itself: the last chores, or run one.")
LOOK_EVERY = 0.2


@app.callback(invoke_without_command=True)
def chores(
    context: typer.Context,
    as_json: AsJson = False,
    count: Annotated[int, typer.Option("--count", "-n", min=1, max=1000, help="How many.")] = 20,
) -> None:
    """The last chores, newest first."""
    if context.invoked_subcommand is not None:
        return
    with told():
        database = open_database(read_settings())
        with database.read(SYSTEM) as session:
            found = ChoreService(KINDS).newest(session, count)
    if as_json:
        typer.echo(json.dumps([shown(chore) for chore in found], indent=2))
        return
    Console().print(table(found))


@app.command()
def run(
    kind: Annotated[str, typer.Argument(help=f"One of: {', '.join(sorted(KINDS))}.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count only, remove nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Ask for a chore and wait until it has ended. Exit code 1 when it failed."""
    say: Callable[[str], None] = _nothing if as_json else progress()
    with told():
        settings = read_settings()
        database = open_database(settings)
        chore = ask(database, KINDS, kind, dry_run=dry_run)
        say(f"{kind} waits as {chore}")
        row = wait(database, settings, chore, say)
        if as_json:
            typer.echo(json.dumps(shown(row), indent=2))
        elif row.state == "done":
            say("done" + "".join(f"\n  {what:<18} {number}" for what, number in row.result.items()))
        if row.state == "failed":
            raise SetupError(f"{kind} failed: {row.error}")


def ask(database: Database, kinds: Kinds, kind: str, *, dry_run: bool) -> str:
    """The chore's id; asking again while it waits gives the same. Raises ValidationError."""
    arguments = {"dry_run": True} if dry_run else {}
    with database.begin(SYSTEM) as session:
        return ChoreService(kinds).enqueue(session, kind, arguments, unique_key=f"{kind}:dry-run" if dry_run else kind)


def wait(database: Database, settings: Settings, chore: str, say: Callable[[str], None]) -> Chore:
    """The chore once it has ended. Raises SetupError when nobody takes it within `start_timeout`."""
    said, deadline = "", time.monotonic() + settings.start_timeout
    while True:
        with database.read(SYSTEM) as session:
            row = ChoreService(KINDS).get(session, chore)
        if row.state in FINISHED:
            return row
        if row.state == "running" and row.progress and row.progress != said:
            said = row.progress
            say(said)
        if row.state == "queued" and row.tries == 0 and time.monotonic() > deadline:
            raise SetupError(
                "nobody takes it: look at the processes `loops` and `chores` (`remora server status`); "
                "it stays in line until they are back."
            )
        if row.state == "queued" and row.error and row.error != said:
            said = row.error
            say(f"try {row.tries} failed: {said} It is tried again.")
        time.sleep(LOOK_EVERY)


def shown(chore: Chore) -> dict[str, Any]:
    """A chore for programs."""
    return {
        "id": chore.id,
        "kind": chore.kind,
        "arguments": chore.arguments,
        "organization": chore.organization_id,
        "state": chore.state,
        "reason": chore.reason,
        "error": chore.error,
        "progress": chore.progress,
        "result": chore.result,
        "tries": chore.tries,
        "created": api_time(chore.created_at),
        "next": api_time(chore.next_at) if chore.state == "queued" else None,
        "started": api_time(chore.started_at),
        "finished": api_time(chore.finished_at),
    }


def table(found: list[Chore]) -> Table:
    """Chores for people."""
    drawn = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("KIND", "STATE", "ASKED", "TOOK", "TRIES", "WHAT"):
        drawn.add_column(column, overflow="fold", no_wrap=column != "WHAT")
    for chore in found:
        kind = f"{chore.kind} (dry run)" if chore.arguments.get("dry_run") else chore.kind
        asked = chore.created_at.astimezone().strftime("%Y-%m-%d %H:%M:%S")
        drawn.add_row(kind, chore.state, asked, _took(chore), str(chore.tries), escape(_what(chore)))
    return drawn


def _took(chore: Chore) -> str:
    if chore.started_at is None or chore.finished_at is None:
        return "-"
    return f"{(chore.finished_at - chore.started_at).total_seconds():.1f} s"


def _what(chore: Chore) -> str:
    if chore.error:
        return chore.error
    return ", ".join(f"{what}: {number}" for what, number in chore.result.items()) or chore.progress


def _nothing(_: str) -> None:
    return
