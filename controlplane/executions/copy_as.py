"""The `vh` command that runs an execution once more. Pure."""

from __future__ import annotations

import re
import shlex
import unicodedata
from typing import Any

from controlplane.commits.models import Commit
from controlplane.executions.models import Execution


def option_name(name: str) -> str:
    """The option that the client makes of a parameter's or input's name: ASCII letters, digits and dashes."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-zA-Z0-9-]+", "-", plain).strip("-")


def command_line(execution: Execution, commit: Commit | None, environment: str) -> str:
    """One line for a shell; secret values and values of environment variables are not in it."""
    words = ["vh", "exec", "run"]
    if commit is not None:
        words.append(f"--commit={commit.identifier}")
    if environment:
        words.append(f"--environment={environment}")
    if execution.title:
        words.append(f"--title={execution.title}")
    words.extend(f"--tag={tag}" for tag in execution.tags)
    words.append(execution.step)
    for name, given in execution.parameters.items():
        words.extend(f"--{option_name(name)}={_text(one)}" for one in (given if isinstance(given, list) else [given]))
    for name, uris in execution.inputs.items():
        words.extend(f"--{option_name(name)}={uri}" for uri in uris)
    return " ".join(shlex.quote(word) for word in words)


def _text(given: Any) -> str:
    return str(given).lower() if isinstance(given, bool) else str(given)
