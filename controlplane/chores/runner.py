"""Runs one chore: takes its row, calls the handler of its kind, writes how it ended."""

from __future__ import annotations

import math
import os
import threading
import time
from types import TracebackType
from typing import Any

import structlog
from pydantic import BaseModel, ValidationError
from rq.timeouts import JobTimeoutException
from sqlalchemy.exc import SQLAlchemyError

from controlplane.chores.claims import Claim, Claims
from controlplane.chores.errors import ChoreFailedError, ChoreLostError, ChoreStoppedError
from controlplane.chores.kinds import Kind, Kinds
from controlplane.chores.run import Run
from controlplane.db.session import Database
from controlplane.settings import Settings

log = structlog.get_logger()
HUNG = 70


class Runner:
    """The one function that a job of RQ may call is `run`."""

    def __init__(self, db: Database, settings: Settings, kinds: Kinds) -> None:
        self._settings = settings
        self._kinds = kinds
        self._claims = Claims(db, settings.chores_lost_after, settings.chores_tries, settings.chores_retry_pause)
        self._running: Run | None = None

    @property
    def limit(self) -> int:
        """Longest run of a chore, in whole seconds."""
        return math.ceil(self._settings.chores_limit)

    def stop(self) -> None:
        """Let the chore that runs go back to those that wait, at its next step."""
        if self._running is not None:
            self._running.stop()

    def run(self, chore: str) -> None:
        """Run it, unless somebody else does or did."""
        claim = self._claims.take(chore)
        if claim is None:
            log.info("chore_not_taken", chore=chore)
            return
        found = self._understood(claim)
        if found is None:
            return
        run = self._running = Run(self._claims, claim, self._settings)
        log.info("chore_started", chore=chore, kind=claim.kind)
        try:
            with Watch(self._claims, run, self._settings.chores_lost_after, self.limit):
                self._perform(run, *found)
        except ChoreLostError:
            log.warning("chore_lost", chore=chore, kind=claim.kind)
        finally:
            self._running = None

    def _understood(self, claim: Claim) -> tuple[Kind[Any], BaseModel] | None:
        """The kind with its arguments; a chore that this version does not know fails."""
        kind = self._kinds.get(claim.kind)
        if kind is None:
            known = ", ".join(sorted(self._kinds))
            self._claims.fail(claim, "unknown_kind", f"There is no chore {claim.kind!r}; there are: {known}.")
            return None
        try:
            return kind, kind.arguments.model_validate(claim.arguments)
        except ValidationError as error:
            self._claims.fail(claim, "bad_arguments", f"Its arguments do not fit: {arguments_error(error)}.")
            return None

    def _perform(self, run: Run, kind: Kind[Any], arguments: BaseModel) -> None:
        claim, began = run.claim, time.monotonic()
        try:
            result = kind.handler(run, arguments)
        except ChoreLostError:
            raise
        except ChoreStoppedError:
            self._claims.give_back(claim)
            log.info("chore_given_back", chore=claim.chore, kind=kind.name)
        except ChoreFailedError as error:
            self._claims.fail(claim, error.reason, str(error))
            log.warning("chore_failed", chore=claim.chore, kind=kind.name, why=str(error))
        except JobTimeoutException:
            self._claims.again(claim, "timed_out", f"It took longer than {self.limit} s.")
            log.warning("chore_timed_out", chore=claim.chore, kind=kind.name)
        except Exception as error:  # noqa: BLE001 - the edge of a chore: logged, and tried again
            log.exception("chore_failed", chore=claim.chore, kind=kind.name)
            sentence = f"It ended with {type(error).__name__}; the log of `chores` says more."
            self._claims.again(claim, "failed", sentence)
        else:
            self._claims.finish(claim, result)
            log.info("chore_done", chore=claim.chore, kind=kind.name, seconds=round(time.monotonic() - began, 3))


class Watch:
    """Renews the lease while a chore runs. One that hangs beyond its limit ends the process, and another goes on."""

    def __init__(self, claims: Claims, run: Run, lost_after: float, limit: float) -> None:
        self._claims = claims
        self._run = run
        self._every = lost_after / 3
        self._last = time.monotonic() + limit + lost_after
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="chore-lease", daemon=True)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join()

    def _keep(self) -> None:
        while not self._done.wait(self._every):
            if time.monotonic() > self._last:
                log.critical("chore_hangs", chore=self._run.chore, kind=self._run.claim.kind)
                os._exit(HUNG)
            try:
                held = self._claims.renew(self._run.claim)
            except SQLAlchemyError as error:
                log.warning("chore_lease_not_renewed", chore=self._run.chore, why=type(error).__name__)
                continue
            if not held:
                self._run.lose()
                return


def arguments_error(error: ValidationError) -> str:
    """What is wrong with a chore's arguments, in one line and without their values."""
    return "; ".join(f"{'.'.join(map(str, one['loc'])) or 'arguments'}: {one['msg']}" for one in error.errors())
