"""Pulumi, driven by its Automation API: plan, apply and destroy of one installation's stack."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pulumi import automation
from pulumi.automation import EngineEvent

from stacks.wizard.command import LastingCommand
from stacks.wizard.errors import WizardError
from stacks.wizard.places import Place

PROJECT = "remora"
OUTPUT = "installation"
OnEvent = Callable[[EngineEvent], None]
Program = Callable[[], None]


@dataclass(frozen=True)
class Changes:
    """How many resources a run makes, changes, replaces, removes and leaves."""

    create: int = 0
    update: int = 0
    replace: int = 0
    delete: int = 0
    same: int = 0

    @property
    def all(self) -> int:
        """Steps with something to do."""
        return self.create + self.update + self.replace + self.delete


def _changes(summary: Mapping[Any, int]) -> Changes:
    named = {str(getattr(kind, "value", kind)): count for kind, count in summary.items()}
    return Changes(**{kind: named.get(kind, 0) for kind in ("create", "update", "replace", "delete", "same")})


class Engine:
    """One stack. `values` are the answers; `program` builds what they choose; `held`: see LastingCommand."""

    def __init__(self, place: Place, values: Mapping[str, Any], program: Program, held: int) -> None:
        if shutil.which("pulumi") is None:
            raise WizardError("Pulumi's command line is missing: https://www.pulumi.com/docs/install/ tells how.")
        self._place = place
        self._program = program
        self._command = LastingCommand(held)
        self._stack = self._select(values)

    def _select(self, values: Mapping[str, Any]) -> automation.Stack:
        project = automation.ProjectSettings(
            name=PROJECT, runtime="python", backend=automation.ProjectBackend(url=f"file://{self._place.state}")
        )
        options = automation.LocalWorkspaceOptions(
            project_settings=project,
            pulumi_command=self._command,
            env_vars={
                "PULUMI_CONFIG_PASSPHRASE_FILE": str(self._place.passphrase),
                "PULUMI_SKIP_UPDATE_CHECK": "true",
                # Pulumi starts providers written in Python by the name `python3`: it must be the one with our packages.
                "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
                **({} if "PULUMI_HOME" in os.environ else {"PULUMI_HOME": str(self._place.home / "pulumi")}),
            },
        )
        stack = automation.create_or_select_stack(
            stack_name=self._place.name, project_name=PROJECT, program=self._program, opts=options
        )
        known = set(stack.get_all_config())
        stack.set_all_config(
            {
                f"{PROJECT}:{key}": automation.ConfigValue(value if isinstance(value, str) else json.dumps(value))
                for key, value in values.items()
            }
        )
        for gone in known - {f"{PROJECT}:{key}" for key in values}:
            stack.remove_config(gone)
        return stack

    def release(self) -> None:
        """Take away the lock that a killed run left: the caller has the place alone, so nobody else is at work."""
        if any(self._place.state.glob(".pulumi/locks/**/*.json")):
            self._stack.cancel()

    def plan(self, on_event: OnEvent) -> Changes:
        """What `apply` would do; nothing is changed. Raises WizardError."""
        try:
            done = self._stack.preview(on_event=on_event, suppress_outputs=True)
        except automation.CommandError as error:
            raise WizardError(_cause(error)) from error
        return _changes(done.change_summary)

    def apply(self, on_event: OnEvent) -> dict[str, Any]:
        """Do it; gives back the installation document. Run again, it goes on where it stopped. Raises WizardError."""
        try:
            done = self._stack.up(on_event=on_event, suppress_outputs=True, show_secrets=False)
        except automation.CommandError as error:
            raise WizardError(_cause(error), 2) from error
        return done.outputs[OUTPUT].value

    def destroy(self, on_event: OnEvent) -> None:
        """Remove all that holds no data. Raises WizardError."""
        try:
            self._stack.destroy(on_event=on_event, suppress_outputs=True, exclude_protected=True)
        except automation.CommandError as error:
            raise WizardError(_cause(error), 2) from error

    def export(self) -> dict[str, Any]:
        """The state."""
        return {"deployment": self._stack.export_stack().deployment}


def _cause(error: automation.CommandError) -> str:
    """Pulumi's own words, without its frame of versions and code."""
    lines = [line.strip() for line in str(error).splitlines()]
    said = [line for line in lines if line.startswith("error:")]
    return "\n".join(dict.fromkeys(said)) or "\n".join(lines[-20:])
