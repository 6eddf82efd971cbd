"""What a chore is made of: its kind with typed arguments, and how a handler ends it other than well."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict

from controlplane.chores.run import Run
from controlplane.settings import Settings

A = TypeVar("A", bound=BaseModel)


@dataclass(frozen=True)
class Kind(Generic[A]):
    """A chore that can be asked for. `handler` may run twice, and is ended anywhere: it is idempotent.

    It returns what it counted. `every` gives the seconds between two runs that the schedule asks for; 0 is never.
    """

    name: str
    summary: str
    arguments: type[A]
    handler: Callable[[Run, A], dict[str, Any]]
    every: Callable[[Settings], float] | None = None


Kinds = Mapping[str, Kind[Any]]


class Removal(BaseModel):
    """Arguments of a chore that removes something."""

    model_config = ConfigDict(extra="forbid", strict=True)

    dry_run: bool = False
