"""Redis users of a queue: made again when the server has lost them, removed when their worker has gone."""

from __future__ import annotations

from collections.abc import Mapping

import structlog

from controlplane.dispatch.queue import Queue
from worker_bootstrap.protocol import names

log = structlog.get_logger()


class Users:
    """Keeps the users of one queue as the database wants them."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue
        self._first = True

    def look(self) -> frozenset[str]:
        """The users that the server has; look before the database is read. Raises QueueError."""
        return frozenset(self._queue.users())

    def repair(self, seen: frozenset[str], workers: Mapping[str, str], join_hash: str) -> set[str]:
        """Make the users of `workers` {id: password hash} and the join user, where they are missing.

        Strangers among the worker users are removed: `seen` is older than `workers`, so a worker that just joins is
        none. After the start every user gets today's rules. Returns the ids of workers whose user was missing.
        Raises QueueError.
        """
        wanted = {names.worker_user(worker): worker for worker in workers}
        missing = {worker for user, worker in wanted.items() if user not in seen}
        for worker in sorted(workers if self._first else missing):
            self._queue.set_user(names.worker_user(worker), names.worker_acl(worker, workers[worker]))
        for user in sorted(seen - wanted.keys()):
            if user.startswith(names.worker_user("")):
                self._queue.remove_user(user)
                log.info("queue_user_removed", user=user)
        self._join_user(seen, join_hash)
        self._first = False
        for worker in sorted(missing):
            log.info("queue_user_made", worker=worker)
        return missing

    def _join_user(self, seen: frozenset[str], join_hash: str) -> None:
        if join_hash and (self._first or names.JOIN_USER not in seen):
            self._queue.set_user(names.JOIN_USER, names.join_acl(join_hash))
        elif names.JOIN_USER not in seen:
            log.error("queue_join_user_missing", remedy="no machine can join: load the queue's ACL file again")
