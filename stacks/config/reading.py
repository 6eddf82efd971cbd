"""The values of the stack that runs, as Pulumi gives them."""

from __future__ import annotations

import json

import pulumi
from pulumi.runtime import config as runtime

from stacks.config.base import ConfigError

SCALARS = ("flavour", "provider")


def stack_values() -> dict[str, object]:
    """Every key of this project, objects parsed. Raises ConfigError for an object that is no JSON."""
    prefix = f"{pulumi.get_project()}:"
    # Pulumi's own Config answers for keys that one names; a key that nobody knows would pass unseen.
    found = {**runtime.get_config_env(), **runtime.CONFIG.get()}
    values = {name.removeprefix(prefix): value for name, value in found.items() if name.startswith(prefix)}
    return {name: value if name in SCALARS else _parsed(name, value) for name, value in values.items()}


def _parsed(name: str, value: str) -> object:
    try:
        return json.loads(value)
    except ValueError as error:
        raise ConfigError(
            {name: f"An object is expected: `pulumi config set --path {name}.KEY VALUE` ({error})."}
        ) from error
