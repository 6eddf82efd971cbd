"""Pulumi's CLI on a project's folder, with a backend and a home of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from plugin.infra_parts import BUILD, PULUMI
from support.events import Run, read_run

PASSPHRASE = "a passphrase of this test only"
TIMEOUT = 280


class CliError(AssertionError):
    """A command of the CLI that is no run of a program failed; its words are in the message."""


@dataclass(frozen=True)
class Pulumi:
    """`folder` holds the state of all stacks and what the CLI keeps. `providers` are attached ones, as NAME:PORT."""

    folder: Path
    providers: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)

    def project(self, source: Path, *files: str, stack: str = "test", **config: str) -> Project:
        """A new stack of the project whose Pulumi.yaml is in `source`, with this configuration (`aws__region`).

        It works on a copy, of all or of these files: the CLI writes a stack's configuration beside Pulumi.yaml.
        """
        folder = self.folder / f"project-{stack}"
        for file in files or (".",):
            whole, target = source / file, folder / file
            shutil.copytree(whole, target) if whole.is_dir() else shutil.copy(whole, target)
        project = Project(self, folder, stack)
        project.run("stack", "init", stack)
        for name, value in config.items():
            project.set(name.replace("__", ":"), value)
        return project

    def program(self, source: str, stack: str = "test", **config: str) -> Project:
        """The same of a project that is one file of Python."""
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "Pulumi.yaml").write_text("name: program\nruntime: python\n")
            Path(folder, "__main__.py").write_text(source)
            return self.project(Path(folder), stack=stack, **config)

    def variables(self) -> dict[str, str]:
        """The environment of every command: nothing of the Pulumi or the AWS of a person who runs the tests."""
        assert PULUMI.exists(), f"{PULUMI} is not there; {BUILD} makes it, and says what it misses"
        backend = self.folder / "backend"
        backend.mkdir(parents=True, exist_ok=True)
        inherited = {n: v for n, v in os.environ.items() if not n.startswith(("PULUMI_", "AWS_"))}
        return {
            **inherited,
            "PATH": os.pathsep.join([str(PULUMI.parent), str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
            "PULUMI_BACKEND_URL": f"file://{backend}",
            "PULUMI_CONFIG_PASSPHRASE": PASSPHRASE,
            # Asks for `--event-log`, as the Automation API does.
            "PULUMI_DEBUG_COMMANDS": "true",
            "PULUMI_DEBUG_PROVIDERS": ",".join(self.providers),
            "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
            "PULUMI_HOME": str(self.folder / "home"),
            "PULUMI_SKIP_UPDATE_CHECK": "1",
            "NO_PROXY": "127.0.0.1",
            **self.environment,
        }


@dataclass(frozen=True)
class Project:
    """One stack of one project."""

    pulumi: Pulumi
    folder: Path
    stack: str

    def run(self, *arguments: str, stdin: str = "") -> str:
        """A command that must end well; what it printed. Raises CliError."""
        done = self._call([*arguments], stdin)
        if done.returncode:
            raise CliError(f"pulumi {' '.join(arguments)}: {done.stdout}{done.stderr}")
        return done.stdout

    def set(self, name: str, value: str, secret: bool = False) -> None:
        """Configuration; the value goes by standard input."""
        self.run("config", "set", "--stack", self.stack, *(["--secret"] if secret else []), name, stdin=value)

    def preview(self, *options: str) -> Run:
        return self._operate("preview", *options)

    def up(self, *options: str) -> Run:
        return self._operate("up", "--yes", "--skip-preview", *options)

    def refresh(self, *options: str) -> Run:
        return self._operate("refresh", "--yes", "--skip-preview", *options)

    def destroy(self, *options: str) -> Run:
        return self._operate("destroy", "--yes", "--skip-preview", *options)

    def export(self, *options: str) -> dict[str, Any]:
        """The stack's state, as `pulumi stack export` gives it."""
        return json.loads(self.run("stack", "export", "--stack", self.stack, *options))

    def outputs(self) -> dict[str, Any]:
        """The stack's outputs, secret ones in plain."""
        return json.loads(self.run("stack", "output", "--json", "--show-secrets", "--stack", self.stack))

    def _operate(self, command: str, *options: str) -> Run:
        log = self.pulumi.folder / f"events-{time.monotonic_ns()}.json"
        began = time.monotonic()
        arguments = [command, "--stack", self.stack, "--event-log", str(log), "--color", "never"]
        done = self._call([*arguments, "--non-interactive", *options])
        return read_run(log, done.returncode, time.monotonic() - began, done.stdout + done.stderr)

    def _call(self, arguments: list[str], stdin: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(PULUMI), *arguments],
            cwd=self.folder,
            env=self.pulumi.variables(),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
        )
