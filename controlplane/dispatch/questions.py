"""Questions of workers: signed addresses, credentials of images, calls from containers. Fenced as everything else."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from controlplane.data.stores.registry import StoreRegistry
from controlplane.db.ids import is_id
from controlplane.dispatch.logins import LoginDesk
from controlplane.dispatch.relay import RelayDesk
from controlplane.dispatch.urls import UrlDesk
from controlplane.environments.models import Worker
from controlplane.executions.models import Attempt, Execution
from worker_bootstrap.protocol import codec
from worker_bootstrap.protocol.errors import ProtocolError
from worker_bootstrap.protocol.messages import Envelope, Relay, Urls


class Questions:
    """Answers about one attempt each."""

    def __init__(self, stores: StoreRegistry, logins: LoginDesk) -> None:
        self._urls = UrlDesk(stores, logins)
        self._relay = RelayDesk(self._urls)

    def urls(self, session: Session, worker_id: str, message: Envelope) -> Urls:
        """The addresses, or an error for each. Raises ProtocolError for an attempt of somebody else."""
        worker, attempt, execution = self._find(session, worker_id, message)
        return self._urls.answer(session, worker, attempt, execution, codec.body(Urls, message))

    def relay(self, session: Session, worker_id: str, message: Envelope) -> Relay:
        """The answer to the call. Raises ProtocolError for an attempt of somebody else."""
        worker, attempt, execution = self._find(session, worker_id, message, lock=True)
        return self._relay.answer(session, worker, attempt, execution, codec.body(Relay, message))

    @staticmethod
    def _find(
        session: Session, worker_id: str, message: Envelope, *, lock: bool = False
    ) -> tuple[Worker, Attempt, Execution]:
        query = select(Attempt).where(Attempt.id == message.attempt, Attempt.worker_id == worker_id)
        attempt = session.scalar(query) if is_id(message.attempt) else None
        if attempt is None:
            raise ProtocolError("its attempt was not granted to this worker")
        worker = session.get_one(Worker, worker_id)
        execution = session.get_one(Execution, attempt.execution_id, with_for_update=lock or None)
        return worker, attempt, execution


def is_current(attempt: Attempt, execution: Execution) -> bool:
    """Whether this attempt is the newest one and not over."""
    return attempt.number == execution.attempt_number and attempt.state != "ended"
