"""`remora worker …`"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, help="The agent on this machine.")
Home = Annotated[Path, typer.Option(help="Folder with agent.json.")]


@app.command()
def run(home: Home) -> None:
    """Run the agent in the foreground."""
    raise typer.Exit(subprocess.call([sys.executable, "-m", "worker_bootstrap.agent", "--home", str(home)]))


@app.command()
def status(home: Home) -> None:
    """What this machine is to the master, as JSON; no secret is shown."""
    try:
        identity = json.loads((home / "identity.json").read_text())
    except OSError as error:
        typer.echo(f"{home} holds no identity: start the agent once (`remora worker run`).", err=True)
        raise typer.Exit(1) from error
    shown = {name: identity[name] for name in ("machine", "worker", "installation")}
    shown["attempts"] = sorted(path.parent.name for path in (home / "work").glob("*/job.json"))
    typer.echo(json.dumps(shown))
