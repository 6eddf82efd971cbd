"""`remora server invite`, `remora server import-installation`: the two ends of installing elsewhere."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from controlplane.clock import utc_now
from controlplane.db.session import SYSTEM, Database
from controlplane.environments.changes import Change
from controlplane.environments.importing import Importer, NotYetError, parse_document
from controlplane.environments.invitation import CLOUDS, invite, yaml_text
from controlplane.environments.opening import open_references
from controlplane.errors import ValidationError
from controlplane.releases.keys import ReleaseKeys
from controlplane.security.vault import Vault
from controlplane.terminal import AsJson, open_database, read_settings, told
from infra.installation import InstallationDocument

# Secret stores that refuse are asked again after ten seconds at the earliest (references.PAUSE).
LOOK_EVERY = 2.0
Result = TypeVar("Result")
app = typer.Typer(no_args_is_help=True)


@app.command("invite")
def invitation(
    address: Annotated[
        list[str], typer.Option(help="Network that this control plane comes from, such as 203.0.113.7/32; repeatable.")
    ],
    name: Annotated[str, typer.Option(help="The installation that is invited: its external id is its own.")] = "",
    cloud: Annotated[str, typer.Option(help="Also name who may take on a role there: aws.")] = "",
    principal: Annotated[str, typer.Option(help="With --cloud aws: ARN of the role that this control plane has.")] = "",
    dashboard: Annotated[str, typer.Option(help="The dashboard's address; default: the setting public_url.")] = "",
    as_json: AsJson = False,
) -> None:
    """Print the object `master` of an installation's configuration. None of it is a secret."""
    settings = read_settings()
    with told():
        if cloud and cloud not in CLOUDS:
            raise ValidationError({"cloud": f"{cloud!r} is none of {', '.join(CLOUDS)}."})
        open_database(settings)
        made = invite(
            dashboard or settings.public_url, address, ReleaseKeys(settings.keys_dir).public(), cloud, principal,
            settings.keys_dir, name,
        )  # fmt: skip
    typer.echo(json.dumps({"master": made}, indent=2) if as_json else yaml_text(made))


@app.command("import-installation")
def import_installation(
    file: Annotated[Path, typer.Argument(help="The document: `pulumi stack output installation`.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would change, change nothing.")] = False,
    wait: Annotated[float, typer.Option(help="Seconds to wait for secrets that new machines write first.")] = 0.0,
    as_json: AsJson = False,
) -> None:
    """Take in what a stack exported: queue, stores and worker groups. Prints what it changes."""
    settings = read_settings()
    with told():
        if not file.is_file():
            raise ValidationError({"file": f"There is no file {file}."})
        document = parse_document(file.read_bytes())
        vault = Vault.from_file(settings.keys_dir / "secret.key")
        importer = Importer(vault, open_references(settings), utc_now)
        database = open_database(settings)
        changes = _patiently(lambda: _compared(importer, database, document), wait)
        if not dry_run:
            with database.begin(SYSTEM) as session:
                importer.run(session, document)
    if as_json:
        shown = [change.plain() for change in changes]
        typer.echo(json.dumps({"installation": document.name, "dry_run": dry_run, "changes": shown}, indent=2))
        return
    for change in changes:
        typer.echo(change.line())
    counts = f"{len(document.groups)} worker groups, {len(document.stores)} stores"
    ending = "nothing was changed yet" if dry_run else "imported" if changes else "nothing to change"
    typer.echo(f"Installation {document.name}: {counts}; {ending}.")


def _compared(importer: Importer, database: Database, document: InstallationDocument) -> list[Change]:
    with database.read(SYSTEM) as session:
        return importer.compare(session, document)


def _patiently(look: Callable[[], Result], seconds: float) -> Result:
    """The result, asked for again while a secret is not there yet. Raises ValidationError."""
    until = time.monotonic() + seconds
    while True:
        try:
            return look()
        except NotYetError:
            if time.monotonic() > until:
                raise
        time.sleep(LOOK_EVERY)
