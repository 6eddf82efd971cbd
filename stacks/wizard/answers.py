"""The file of answers: YAML with `flavour`, `provider`, the flavour's object and, if need be, `advanced`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from stacks.config.base import ConfigError
from stacks.config.choice import Choice, choose
from stacks.wizard.errors import WizardError, of_config

MAX_BYTES = 256 * 1024


def read_answers(path: Path) -> tuple[dict[str, Any], Choice]:
    """The file's values and what they choose. Raises WizardError."""
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise WizardError(f"{path} can't be read: {error}") from error
    if len(text) > MAX_BYTES:
        raise WizardError(f"{path} has more than {MAX_BYTES} bytes: that is no file of answers.")
    try:
        values = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise WizardError(f"{path} is no YAML: {error}") from error
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        raise WizardError(f"{path}: an object with flavour and provider is expected.")
    try:
        return values, choose(values)
    except ConfigError as error:
        raise of_config(error, str(path)) from error
