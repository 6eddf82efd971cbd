"""Tests of credentials, for processes that seldom make one."""

from __future__ import annotations

import importlib
from functools import cached_property
from typing import TYPE_CHECKING

from controlplane.clock import Clock
from controlplane.registries.login import Opened, Verdict
from controlplane.settings import Settings

if TYPE_CHECKING:
    from controlplane.registries.checking import Checker


class Trials:
    """Tries credentials where they are used. What the HTTP clients need is loaded with the first test."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock

    def check(self, opened: Opened, image: str) -> Verdict:
        """Whether it works, with this image or with the one that its pattern means."""
        return self._checker.check(opened, image)

    @cached_property
    def _checker(self) -> Checker:
        return importlib.import_module("controlplane.registries.checking").checker_of(self._settings, self._clock)
