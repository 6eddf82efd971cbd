"""Installs and destroys: checks, plan, agreement, work, import, proof."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import pulumi
import typer
import yaml

from infra.files import write_private
from stacks.config.base import ConfigError
from stacks.config.choice import Choice
from stacks.flavours import builder
from stacks.wizard.answers import read_answers
from stacks.wizard.checks import refused, table
from stacks.wizard.command import after_the_former
from stacks.wizard.control_plane import Access, ControlPlane, find_access, import_here
from stacks.wizard.engine import OUTPUT, Engine
from stacks.wizard.errors import WizardError, of_config
from stacks.wizard.places import Place, installed, remora_home
from stacks.wizard.preparing import data_that_stays, empty_groups, login_link, own_control_plane, preflight
from stacks.wizard.progress import PlanTree, Progress, Say, sayer

Result = TypeVar("Result")


@contextmanager
def _told(say: Say) -> Iterator[None]:
    try:
        yield
    except WizardError as error:
        say(f"remora: {error}", {"event": "error", "why": str(error)})
        raise typer.Exit(error.exit_code) from error


def _program(choice: Choice) -> Any:
    def run() -> None:
        try:
            pulumi.export(OUTPUT, builder(choice)(choice))
        except ConfigError as error:
            raise of_config(error, "The configuration") from error

    return run


def _worked(work: Callable[[Progress], Result], progress: Progress) -> Result:
    """What it gives back. Raises WizardError that names what failed."""
    try:
        return work(progress)
    except WizardError as error:
        raise WizardError(progress.ending(str(error)), error.exit_code) from error


def _agree(question: str, wishes: Wishes) -> None:
    if wishes.yes:
        return
    if wishes.as_json:
        raise WizardError("--json asks nobody: add --yes.", 3)
    if not typer.confirm(question):
        raise WizardError("Nothing was changed.", 3)


@dataclass(frozen=True)
class Wishes:
    """How one wants it done. `control_plane`: address, or empty; `proof_wait` in seconds."""

    yes: bool = False
    as_json: bool = False
    plan_only: bool = False
    control_plane: str = ""
    proof: bool = True
    proof_image: str = ""
    proof_wait: float = 900.0


def install(answers: Path, wishes: Wishes) -> None:
    """See `remora install`. Raises typer.Exit."""
    say = sayer(as_json=wishes.as_json)
    with _told(say):
        values, choice = read_answers(answers)
        place = Place(remora_home(), choice.settings.name)
        place.make()
        with place.alone(), after_the_former(place, say) as held:
            _check(choice, place, say)
            engine = Engine(place, values, _program(choice), held)
            engine.release()
            total = _plan(engine, say)
            if wishes.plan_only:
                return
            if total:
                say("No impact so far. From here on, things are made.", {"event": "impact"})
                _agree("Go on?", wishes)
            write_private(place.answers, yaml.safe_dump(values))
            document = _worked(engine.apply, Progress(say, total))
            write_private(place.document, json.dumps(document, indent=2))
            say(f"The installation stands: {place.document}", {"event": "stands", "document": str(place.document)})
            access = own_control_plane(choice)
            if access is None:
                _hand_over(place, say)
                access = find_access(place.home, wishes.control_plane)
            if wishes.proof and access:
                _prove(access, document, wishes, say)
            if link := login_link(choice):
                say(f"Log in, within a minute: {link}", {"event": "login", "link": link})


def _check(choice: Choice, place: Place, say: Say) -> None:
    results = preflight(choice, place)
    say("Checks\n" + table(results), {"event": "checks", "results": [asdict(result) for result in results]})
    if refused(results):
        raise WizardError("Nothing was created: mend what failed, and try again.")


def _plan(engine: Engine, say: Say) -> int:
    tree = PlanTree()
    changes = engine.plan(tree)
    data = {"event": "plan", "changes": asdict(changes), "parts": tree.rows()}
    if not changes.all:
        say("Plan\n  nothing to change", data)
        return 0
    counts = ", ".join(f"{count} to {kind}" for kind, count in asdict(changes).items() if count and kind != "same")
    say(f"Plan: {counts}\n{tree.text()}", data)
    return tree.total()


def _hand_over(place: Place, say: Say) -> None:
    if not (place.home / "access.json").is_file():
        command = f"remora server import-installation {place.document.name}"
        words = f"Copy {place.document} to the control plane's machine, and there: {command}"
        say(words, {"event": "import", "state": "by hand", "command": command})
        return
    say("Waiting for the control plane of this machine to take it in.", {"event": "import", "state": "begun"})
    done = import_here(place.home, place.document)
    say("The control plane of this machine has it.", {"event": "import", "state": "done", "answer": done})


def _prove(access: Access, document: dict[str, Any], wishes: Wishes, say: Say) -> None:
    control = ControlPlane(access)
    for group in document["groups"]:
        done = control.prove(group["slug"], wishes.proof_image, wishes.proof_wait)
        say(
            f"  {group['slug']}: execution #{done['counter']} {done['status']}  {done['urls']['display']}",
            {"event": "proof", "group": group["slug"], "status": done["status"], "url": done["urls"]["display"]},
        )
        if done["status"] != "complete":
            raise WizardError(f"The proof on {group['slug']} is {done['status']}: its page says why.", 2)


def destroy(name: str, wishes: Wishes) -> None:
    """See `remora destroy`. Raises typer.Exit."""
    say = sayer(as_json=wishes.as_json)
    with _told(say):
        place = Place(remora_home(), name)
        if not place.answers.is_file():
            known = ", ".join(installed(place.home)) or "none"
            raise WizardError(f"{name} was not installed from here. Installed from here: {known}.")
        values, choice = read_answers(place.answers)
        with place.alone(), after_the_former(place, say) as held:
            engine = Engine(place, values, _program(choice), held)
            engine.release()
            kept = kept_resources(engine.export()) + data_that_stays(choice)
            say(_stays(kept), {"event": "stays", "resources": kept})
            _agree(f"Remove {name}?", wishes)
            if place.document.is_file():
                empty_groups(choice, json.loads(place.document.read_text()), say)
            _worked(engine.destroy, Progress(say))
            place.document.unlink(missing_ok=True)
            say(f"{name} is removed.", {"event": "removed", "name": name})


def kept_resources(state: dict[str, Any]) -> list[str]:
    """`type name` of everything that holds data and stays. Pure."""
    rows = state["deployment"].get("resources", [])
    return [f"{row['type'].rpartition(':')[2]} {row.get('id', '')}" for row in rows if row.get("protect")]


def _stays(kept: list[str]) -> str:
    if not kept:
        return "All of it goes."
    return "What holds data stays, and is yours to remove:\n" + "\n".join(f"  {line}" for line in kept)
