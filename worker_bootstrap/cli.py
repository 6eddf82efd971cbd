"""`remora worker …`: the agent's own command, as one of the sub-commands."""

from __future__ import annotations

import typer

from worker_bootstrap.__main__ import COMMANDS, main

app = typer.Typer(no_args_is_help=True, help="The agent on this machine.")


def _forward(context: typer.Context) -> None:
    raise typer.Exit(main([context.info_name or "", *context.args]))


for _name, _text in COMMANDS.items():
    # What may follow, and `--help`, is told by the agent's own command: it ships without typer.
    app.command(
        _name,
        help=_text,
        add_help_option=False,
        context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    )(_forward)
