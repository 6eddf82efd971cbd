"""`remora install` and `remora destroy`: what may be asked. The work is loaded when it is needed, with Pulumi's SDK."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer

AsJson = Annotated[bool, typer.Option("--json", help="One JSON object a line.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
PROOF_IMAGE = "python:3.11-slim"


def install(
    answers: Annotated[Path, typer.Option(help="File of answers (YAML).")],
    yes: Yes = False,
    as_json: AsJson = False,
    plan_only: Annotated[bool, typer.Option("--plan", help="Show what would be made, and stop.")] = False,
    control_plane: Annotated[str, typer.Option(help="Address of the control plane; REMORA_TOKEN is its token.")] = "",
    proof: Annotated[bool, typer.Option(help="Run one execution on each group at the end.")] = True,
    proof_image: Annotated[str, typer.Option(help="Image of that execution.")] = PROOF_IMAGE,
    proof_wait: Annotated[float, typer.Option(help="Seconds to wait for it.")] = 900.0,
) -> None:
    """Install what the answers say, or bring what stands up to them. Run again after anything that stopped it."""
    running = _running()
    running.install(
        answers,
        running.Wishes(yes, as_json, plan_only, control_plane, proof, proof_image, proof_wait),
    )


def destroy(
    name: Annotated[str, typer.Argument(help="The installation's name.")],
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Remove an installation: machines first, then all that holds no data. Stores, database and keys stay."""
    running = _running()
    running.destroy(name, running.Wishes(yes, as_json))


def _running() -> Any:
    try:
        return import_module("stacks.wizard.running")
    except ModuleNotFoundError as error:
        typer.echo(f"remora: {error.name} is missing: pip install 'remora[installer]'", err=True)
        raise typer.Exit(1) from error
