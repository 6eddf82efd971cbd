"""A cursor on disk: how far a reader has come, and what it was about to do when it was last seen."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from worker_bootstrap.agent.logs.spool_files import Position


@dataclass
class Cursor:
    """`done`: everything before it is dealt with. `intent`: the end of the range that is being dealt with.

    After a crash exactly that range is dealt with again, with the same names: nothing is lost or doubled.
    """

    path: Path
    durable: bool = False
    done: Position = field(default_factory=Position)
    intent: Position | None = None
    notes: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def load(cls, path: Path, *, durable: bool = False) -> Cursor:
        """The cursor of that file; at the log's beginning when there is none."""
        try:
            data = json.loads(path.read_text())
        except FileNotFoundError:
            return cls(path, durable)
        intent = Position(*data["intent"]) if data["intent"] else None
        return cls(path, durable, Position(*data["done"]), intent, data["notes"])

    def begin(self, end: Position, start: Position | None = None) -> None:
        """Write down that the range from `start` (or `done`) to `end` is being dealt with."""
        self.done, self.intent = start or self.done, end
        self.save()

    def commit(self, end: Position, **notes: Any) -> None:
        """Write down that everything before `end` is dealt with."""
        self.done, self.intent = end, None
        self.notes.update(notes)
        self.save()

    def save(self) -> None:
        """Replace the file at once."""
        document = {
            "done": [self.done.file, self.done.offset],
            "intent": [self.intent.file, self.intent.offset] if self.intent else None,
            "notes": self.notes,
        }
        temporary = self.path.with_suffix(".new")
        with temporary.open("w") as file:
            json.dump(document, file)
            if self.durable:
                file.flush()
                os.fsync(file.fileno())
        temporary.replace(self.path)
