"""`remora server …`: the control plane on this machine."""

from __future__ import annotations

import json
import time
from typing import Annotated

import typer
from sqlalchemy import select

from controlplane.accounts.links import PAGE, LoginLinks
from controlplane.accounts.models import User
from controlplane.accounts.service import AccountsService
from controlplane.audit.service import AuditService
from controlplane.chores.cli import app as chores_app
from controlplane.clock import utc_now
from controlplane.db.session import SYSTEM
from controlplane.embedded import control
from controlplane.embedded.access import Access, read_access, write_access
from controlplane.embedded.errors import SetupError
from controlplane.embedded.first_run import FIRST_USER, accounts
from controlplane.embedded.sources import read_sources
from controlplane.embedded.status import look
from controlplane.environments.cli import app as installations_app
from controlplane.errors import NotFoundError
from controlplane.releases.cli import app as releases_app
from controlplane.settings import Settings
from controlplane.terminal import AsJson, open_database, progress, read_settings, told

app = typer.Typer(name="server", no_args_is_help=True, help="The control plane on this machine.")
app.add_typer(chores_app)
app.add_typer(installations_app)
app.add_typer(releases_app)


@app.command()
def up(sample: Annotated[bool, typer.Option(help="Run the sample project at the first start.")] = True) -> None:
    """Start everything, wait until it is ready; the first time, set it up and run the sample."""
    say, settings = progress(), read_settings()
    with told(), control.exclusive(settings):
        settings = control.start(settings, say)
        access = control.running_access(settings)
        runs = control.run_sample(settings, access, say) if sample else []
        failed = [run for run in runs if run.status != "complete"]
        say("ready")
        _print_access(settings, access)
        for run in runs:
            typer.echo(f"  Sample     #{run.counter} {run.step}: {run.status}  {run.url}")
        for run in failed:
            raise SetupError(f"the sample's step {run.step} ended as {run.status}: {run.detail}")


@app.command()
def run() -> None:
    """Run the supervisor in the foreground."""
    settings = read_settings()
    with told(), control.exclusive(settings):
        if control.is_running(settings):
            raise SetupError("it runs already; `remora server down` ends it.")
        settings = control.make_ready(settings)
    control.replace_process(settings)


@app.command()
def down() -> None:
    """End everything. Running executions go on in their containers, and are found again by the next `up`."""
    settings = read_settings()
    if not settings.home.is_dir():
        typer.echo("Remora does not run here.")
        return
    with told(), control.exclusive(settings):
        typer.echo("Remora is down." if control.stop(settings) else "Remora does not run here.")


@app.command()
def clean(yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False) -> None:
    """End everything and remove the state folder: database, keys, logs, outputs."""
    settings = read_settings()
    if not settings.home.is_dir():
        typer.echo(f"There is no {settings.home}.")
        return
    if not yes:
        typer.confirm(f"Remove {settings.home} with every execution, log and output in it?", abort=True)
    with told(), control.exclusive(settings):
        left = control.remove_everything(settings)
    typer.echo(
        f"Removed {settings.home}." if not left else f"Removed all of Remora's; others' files stay in {settings.home}."
    )


@app.command()
def status(as_json: AsJson = False) -> None:
    """What runs. Exit code 1 when it does not run or is not ready."""
    with told():
        found = look(read_settings())
    typer.echo(json.dumps(found.as_json(), indent=2) if as_json else "\n".join(found.lines(time.time())))
    if not found.ready:
        raise typer.Exit(1)


@app.command("add-user")
def add_user(
    name: str,
    email: Annotated[str, typer.Option(help="Where messages go.")] = "",
    operator: Annotated[
        bool, typer.Option("--operator", help="Owns the control plane: installations, health.")
    ] = False,
) -> None:
    """Add a person; prints the generated password, once."""
    with told():
        _, password = _accounts(read_settings()).create_user(name, email, is_operator=operator)
    typer.echo(f"User {name}, password {password}")


@app.command("reset-password")
def reset_password(name: str) -> None:
    """Give a person a new password; ends all of their sessions and tokens."""
    settings = read_settings()
    with told():
        service = _accounts(settings)
        password = service.reset_password(name)
        known = read_access(settings.access_file)
        if known is None or known.user == name:
            token = service.create_token(_user_id(settings, name), "first run")
            write_access(settings.access_file, Access(settings.public_url, name, password, token))
    typer.echo(f"User {name}, password {password}")


@app.command("login-link")
def login_link(name: Annotated[str, typer.Argument(help="Whose browser it is to be.")] = FIRST_USER) -> None:
    """Print an address that signs a browser in as this person: once, within a minute."""
    settings = read_settings()
    with told():
        links = LoginLinks(open_database(settings), utc_now, AuditService(utc_now))
        ticket = links.make(_user_id(settings, name), "/", "")
    typer.echo(f"{settings.public_url.rstrip('/')}{PAGE}#{ticket}")


@app.command()
def config(as_json: AsJson = False) -> None:
    """Every setting with its value and source; secrets are masked."""
    with told():
        found = read_sources(read_settings())
    if as_json:
        typer.echo(json.dumps({one.name: {"value": one.value, "source": one.source} for one in found}, indent=2))
        return
    for one in found:
        typer.echo(f"{one.name:<28}{one.value or '-':<44} {one.source}")


def _accounts(settings: Settings) -> AccountsService:
    return accounts(settings, open_database(settings))


def _user_id(settings: Settings, name: str) -> str:
    with open_database(settings).read(SYSTEM) as session:
        found = session.scalar(select(User.id).where(User.username == name, User.disabled_at.is_(None)))
    if found is None:
        raise NotFoundError(f"There is no user {name}: `remora server add-user` adds one.")
    return found


def _print_access(settings: Settings, access: Access) -> None:
    typer.echo("")
    typer.echo(f"  Dashboard  {access.url}")
    typer.echo(f"  User       {access.user}")
    typer.echo(f"  Password   {access.password}")
    typer.echo(f"  Also in    {settings.access_file} (with a token for programs)")
