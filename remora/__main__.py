"""Entry of the `remora` command."""

from __future__ import annotations

from importlib.metadata import entry_points

import typer


def build() -> typer.Typer:
    """The command with every sub-command that an installed part registers under `remora.commands`."""
    app = typer.Typer(name="remora", no_args_is_help=True, help="Remora: run machine learning on your own machines.")
    for point in sorted(entry_points(group="remora.commands"), key=lambda p: p.name):
        found = point.load()
        if isinstance(found, typer.Typer):
            app.add_typer(found, name=point.name)
        else:
            app.command(point.name)(found)
    return app


def main() -> None:
    """Run the command."""
    build()()


if __name__ == "__main__":
    main()
