"""What a handler gets beside its arguments."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.orm import Session

from controlplane.chores.claims import Claim, Claims
from controlplane.chores.errors import ChoreLostError, ChoreStoppedError
from controlplane.settings import Settings


class Run:
    """One try of a chore. Handlers work in short steps: between two of them a chore can be ended."""

    def __init__(self, claims: Claims, claim: Claim, settings: Settings) -> None:
        self.settings = settings
        self.claim = claim
        self._claims = claims
        self._stopped = False
        self._lost = False

    @property
    def chore(self) -> str:
        """The chore's id: the name under which an idempotent handler leaves what it made."""
        return self.claim.chore

    @contextmanager
    def begin(self) -> Iterator[Session]:
        """A short transaction that holds only while this try is the one. See `check` for what it raises."""
        self.check()
        with self._claims.begin(self.claim) as session:
            yield session

    def tell(self, progress: str) -> None:
        """Say in one sentence how far it is. See `check` for what it raises."""
        self.check()
        self._claims.tell(self.claim, progress)

    def check(self) -> None:
        """Raise ChoreLostError or ChoreStoppedError when this try has to end; a handler lets them pass."""
        if self._lost:
            raise ChoreLostError(self.claim.chore)
        if self._stopped:
            raise ChoreStoppedError(self.claim.chore)

    def stop(self) -> None:
        """The process is asked to end."""
        self._stopped = True

    def lose(self) -> None:
        """The lease has gone to another process."""
        self._lost = True
