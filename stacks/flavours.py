"""Which program builds which flavour: one module a flavour, which knows its providers."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

import pulumi

from stacks.config.choice import Choice

Build = Callable[[Choice], pulumi.Input[dict[str, Any]]]


def builder(choice: Choice) -> Build:
    """The function that builds `choice` and gives back the installation document.

    Loaded by name, so that a flavour on plain machines needs no SDK of a cloud.
    """
    module = import_module(f"stacks.{choice.flavour}")
    builders: dict[str, Build] = module.BUILDERS
    return builders[choice.provider]
