"""All of it in one's own account or data centre: one module a provider, loaded when it is asked for."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import pulumi

from stacks.config.choice import Choice
from stacks.flavours import Build


def _by(module: str) -> Build:
    def build(choice: Choice) -> pulumi.Input[dict[str, Any]]:
        return import_module(module).build(choice)

    return build


BUILDERS: dict[str, Build] = {"aws": _by("stacks.self_hosted_aws"), "ssh": _by("stacks.self_hosted_ssh")}
