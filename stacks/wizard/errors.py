"""What ends the wizard."""

from __future__ import annotations

from stacks.config.base import ConfigError


class WizardError(Exception):
    """It can't go on; the message says what to do. `exit_code`: 1 refused, 2 failed on the way, 3 not agreed to."""

    def __init__(self, message: str, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def of_config(error: ConfigError, where: str) -> WizardError:
    """The same with each key on a line of its own."""
    lines = [f"  {key}: {sentence}" for key, sentence in error.problems.items()]
    return WizardError("\n".join([f"{where} can't be used. Nothing was created.", *lines]))
