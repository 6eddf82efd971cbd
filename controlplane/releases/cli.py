"""`remora server release-agent`, `remora server join-credential`."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from controlplane.clock import utc_now
from controlplane.db.session import SYSTEM
from controlplane.embedded.first_run import GROUP, INSTALLATION
from controlplane.embedded.redis import password_file
from controlplane.releases.credentials import join_credential, with_files
from controlplane.releases.keys import ReleaseKeys
from controlplane.releases.publishing import Publisher
from controlplane.security.vault import Vault
from controlplane.terminal import open_database, read_settings, told
from worker_bootstrap.protocol import names

app = typer.Typer(no_args_is_help=True)


@app.command("release-agent")
def release_agent(
    folder: Annotated[Path, typer.Argument(help="Holds what tools/agent_release.py and tools/server_release.py make.")],
    valid_days: Annotated[int, typer.Option(min=1, help="Machines take the release for so long.")] = 90,
    minimum: Annotated[str, typer.Option(help="Oldest version that may still be installed; default: this one.")] = "",
    rotate_key: Annotated[bool, typer.Option("--rotate-key", help="Begin to sign with a new key too.")] = False,
    end_rotation: Annotated[bool, typer.Option("--end-rotation", help="Sign with the new key only.")] = False,
) -> None:
    """Put the files of agent and control plane into the releases store, with a signed manifest."""
    settings = read_settings()
    with told():
        keys = ReleaseKeys(settings.keys_dir)
        if rotate_key:
            keys.rotate()
        if end_rotation:
            keys.end_rotation()
        publisher = Publisher(keys, settings.stores_dir / "releases", utc_now)
        made = publisher.publish(folder, timedelta(days=valid_days), minimum)
    typer.echo(f"Release {made.manifest.version} until {made.manifest.expires}: {made.folder}")
    for part, file in made.manifest.files.items():
        typer.echo(f"  {part:<20} {file.sha256}  {file.size} bytes")


@app.command("join-credential")
def credential(
    group: Annotated[str, typer.Argument(help="The worker group to join.")] = GROUP,
    installation: Annotated[str, typer.Option(help="The installation that the group belongs to.")] = INSTALLATION,
    join_password: Annotated[
        Path | None, typer.Option(help="File with the password of the queue's join user; default: the embedded one's.")
    ] = None,
    ca: Annotated[Path | None, typer.Option(help="Certificate authority of the queue (PEM).")] = None,
    certificate: Annotated[Path | None, typer.Option(help="The machine's client certificate (PEM).")] = None,
    key: Annotated[Path | None, typer.Option(help="Key of the client certificate (PEM).")] = None,
) -> None:
    """Print what one types on a machine that shall join a group: a secret, in one line."""
    settings = read_settings()
    with told():
        password = (join_password or password_file(settings.keys_dir, names.JOIN_USER)).read_text().strip()
        vault = Vault.from_file(settings.keys_dir / "secret.key")
        with open_database(settings).read(SYSTEM) as session:
            made = join_credential(session, vault, group, installation, password)
        made = replace(made, release_keys=ReleaseKeys(settings.keys_dir).public())
        typer.echo(with_files(made, {"ca": ca, "certificate": certificate, "key": key}).encode())
