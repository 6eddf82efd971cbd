"""Questions of workers: signed addresses, credentials of images, calls from containers. Fenced as everything else."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from controlplane.data.stores.registry import StoreRegistry
from controlplane.db.ids import is_id
from controlplane.dispatch.logins import LoginDesk
from controlplane.dispatch.planned import Planned
from controlplane.dispatch.relay import WRITING, RelayDesk
from controlplane.dispatch.urls import UrlDesk
from controlplane.environments.models import Worker
from controlplane.executions.models import Attempt, Execution
from worker_bootstrap.protocol import codec
from worker_bootstrap.protocol.errors import ProtocolError
from worker_bootstrap.protocol.messages import Envelope, Relay, Urls


class Questions:
    """Plans answers about one attempt each."""

    def __init__(self, stores: StoreRegistry, logins: LoginDesk) -> None:
        self._urls = UrlDesk(stores, logins)
        self._relay = RelayDesk(self._urls)

    @staticmethod
    def writes(message: Envelope) -> bool:
        """Whether its answer changes something."""
        return message.kind == "relay" and message.body.get("call") in WRITING

    def plan(self, session: Session, worker_id: str, message: Envelope) -> Planned:
        """Addresses, or an error for each; or the answer to a call. `session` may write where `writes` says so.

        Raises ProtocolError for an attempt of somebody else.
        """
        worker, attempt, execution = self._find(session, worker_id, message, lock=self.writes(message))
        if message.kind == "relay":
            return self._relay.plan(session, attempt, execution, codec.body(Relay, message))
        return self._urls.plan(session, worker, attempt, execution, codec.body(Urls, message))

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
