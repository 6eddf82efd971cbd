"""The Pulumi program: checks the stack's configuration, builds the flavour, exports the installation document."""

from __future__ import annotations

import sys

import pulumi

from stacks.config.base import ConfigError
from stacks.config.choice import choose
from stacks.config.reading import stack_values
from stacks.flavours import builder


def main() -> None:
    """Build what the stack's configuration names; its output `installation` is the installation document."""
    try:
        choice = choose(stack_values())
        pulumi.export("installation", builder(choice)(choice))
    except ConfigError as error:
        for key, sentence in error.problems.items():
            pulumi.log.error(f"{pulumi.get_project()}:{key}: {sentence}")
        sys.exit("Nothing was created: the configuration can't be used.")


main()
