"""The agent's command: what `remora-agent.pex` and `remora worker` do."""

from __future__ import annotations

import argparse
import getpass
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from worker_bootstrap.agent import VERSION
from worker_bootstrap.agent.__main__ import serve
from worker_bootstrap.credential import JoinCredential
from worker_bootstrap.host.errors import HostError
from worker_bootstrap.host.fetching import Source, fetch, place
from worker_bootstrap.host.joining import MachineOptions, parse_credential, write_settings
from worker_bootstrap.host.places import HOME, ROOT, Releases, architecture
from worker_bootstrap.host.removal import Removal
from worker_bootstrap.host.service import UNITS, Service
from worker_bootstrap.host.status import look
from worker_bootstrap.release import ReleaseError

COMMANDS = {
    "run": "Run the agent in the foreground.",
    "join": "Write this machine's settings from a join credential.",
    "install": "Install the agent's file and its service, and start it.",
    "fetch-release": "Install a newer release of the agent, once its signature is verified.",
    "uninstall": "Remove the agent, its containers and everything it made on this machine.",
    "status": "What this machine is to the master, as JSON.",
}


def main(words: Sequence[str] | None = None) -> int:
    """The exit code of one command."""
    options = _parser().parse_args(words)
    try:
        return options.work(options)
    except (HostError, ReleaseError) as error:
        print(f"remora-agent: {error}", file=sys.stderr)
    except OSError as error:
        print(f"remora-agent: {error.filename or 'the system'}: {error.strerror or error}", file=sys.stderr)
    return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="remora-agent", description="Runs executions of Remora on this machine.")
    parser.add_argument("--version", action="version", version=f"remora-agent {VERSION}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    made = {name: commands.add_parser(name, help=text, description=text) for name, text in COMMANDS.items()}
    for name, command in made.items():
        command.add_argument("--home", type=Path, default=HOME, help=f"the agent's folder, with agent.json ({HOME})")
        if name in ("install", "fetch-release", "uninstall", "status"):
            command.add_argument("--root", type=Path, default=ROOT, help=f"folder of releases ({ROOT})")
    made["run"].set_defaults(work=lambda options: serve(options.home))
    _joining(made["join"])
    made["join"].set_defaults(work=_join)
    _joining(made["install"])
    made["install"].add_argument("--file", type=Path, help="the agent's file to install; default: the one that runs")
    made["install"].add_argument("--units", type=Path, default=UNITS, help=f"folder of systemd's units ({UNITS})")
    made["install"].add_argument("--no-start", action="store_true", help="write everything, start nothing")
    made["install"].set_defaults(work=_install)
    made["fetch-release"].add_argument("place", help="folder of a release, or https address of its manifest.json")
    made["fetch-release"].add_argument("--ca", default="", help="CA bundle for the address, instead of the system's")
    made["fetch-release"].set_defaults(work=_fetch)
    made["uninstall"].add_argument("--units", type=Path, default=UNITS, help=f"folder of systemd's units ({UNITS})")
    made["uninstall"].add_argument("--yes", action="store_true", help="although executions run here: they end")
    made["uninstall"].set_defaults(work=_uninstall)
    made["status"].set_defaults(work=_status)
    return parser


def _joining(command: argparse.ArgumentParser) -> None:
    command.add_argument("--credential", default="-", help="file with the join credential; default: standard input")
    command.add_argument("--name", default="", help="name of this machine; default: its host name")
    command.add_argument("--slots", type=int, help="executions at once (1)")
    command.add_argument("--engine", default="", help="address of the Docker engine; default: its usual socket")
    command.add_argument("--mount", action="append", default=[], help="folder that executions may mount; repeatable")
    command.add_argument("--gpu", action="append", default=[], help="GPU to share out over the slots; repeatable")
    command.add_argument(
        "--without-firewall",
        action="store_true",
        help="serve although metadata addresses and this machine can't be fenced off from containers",
    )
    command.add_argument(
        "--whole", action="store_true", help="mounts and GPUs that are not named here are taken away from the settings"
    )
    command.add_argument(
        "--own-stores", action="store_true", help="the authority of the queue's certificate signs those of stores too"
    )


def _join(options: argparse.Namespace) -> int:
    typed = _settle(options)
    print(f"Wrote {options.home / 'agent.json'}: group {typed.group}, queue {typed.queue_url}.")
    return 0


def _settle(options: argparse.Namespace) -> JoinCredential:
    """Read the credential and write the settings."""
    typed = parse_credential(_read_credential(options.credential))
    machine = MachineOptions(
        options.name,
        options.slots,
        options.engine,
        options.mount,
        options.gpu,
        options.without_firewall,
        options.whole,
        options.own_stores,
    )
    write_settings(options.home.absolute(), typed, machine)
    return typed


def _install(options: argparse.Namespace) -> int:
    home, releases = options.home.absolute(), Releases(options.root.absolute())
    file = options.file or _own_file()
    keys: list[str] = []
    if options.credential != "-" or not (home / "agent.json").exists():
        keys = _settle(options).release_keys
    place(file, releases, architecture())
    if keys:
        releases.keep_trust(replace(releases.trust(), keys=keys))
    service = Service(releases.root, home, options.units.absolute())
    print(f"Installed {releases.installed()} in {releases.root}, service {service.write()}.")
    if not options.no_start and not service.enable():
        print(f"systemd does not run here: start `{releases.current} run --home {home}` yourself.")
    return 0


def _fetch(options: argparse.Namespace) -> int:
    releases = Releases(options.root.absolute())
    fetched = fetch(Source(options.place, options.ca), releases, architecture(), datetime.now(UTC))
    if not fetched.changed:
        print(f"Release {fetched.version} is installed already.")
        return 0
    kept = f"; {fetched.former} is kept" if fetched.former else ""
    print(f"Installed release {fetched.version}{kept}. It counts from the next start: systemctl restart remora-agent")
    return 0


def _uninstall(options: argparse.Namespace) -> int:
    left = Removal(options.home.absolute(), options.root.absolute(), options.units.absolute()).run(options.yes)
    print("Removed the agent and everything that it made here.")
    for sentence in left:
        print(f"Left: {sentence}", file=sys.stderr)
    return 0


def _status(options: argparse.Namespace) -> int:
    print(json.dumps(look(options.home, Releases(options.root)), indent=2))
    return 0


def _read_credential(place: str) -> str:
    if place != "-":
        return Path(place).read_text()
    if sys.stdin.isatty():
        return getpass.getpass("Join credential: ")
    return sys.stdin.read()


def _own_file() -> Path:
    """The PEX that runs: it knows its own path."""
    path = Path(sys.argv[0])
    if path.suffix == ".pex" or path.name in ("current", "former"):
        return path
    raise HostError("This is not the agent's file: name one, `--file remora-agent-ARCH.pex`.")


if __name__ == "__main__":
    sys.exit(main())
