"""The chores' Redis, as far as it is written to: ids of chores, as jobs that name one function."""

from __future__ import annotations

from collections.abc import Sequence

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from controlplane.chores.errors import ChoreQueueError

QUEUE = "chores"
# The only function that a job may name. It is a name, not a place: nothing is imported by it.
FUNCTION = "chore"
FAILED_JOBS_KEPT = 60


class ChoreQueue:
    """Pushes ids into RQ; connected at the first push. `timeout` is seconds for each call."""

    def __init__(self, url: str, timeout: float = 5.0) -> None:
        self._redis = connect(url, timeout)

    def push(self, chores: Sequence[str]) -> int:
        """Make a job of each that no job waits for; how many were made. Raises ChoreQueueError."""
        # The loops push seldom: what they do not use yet, they do not load.
        from rq import Queue
        from rq.job import Job

        queue = Queue(QUEUE, connection=self._redis, serializer="json")
        try:
            with self._redis.pipeline(transaction=False) as calls:
                for chore in chores:
                    calls.lpos(queue.key, chore)
                places = calls.execute()
            missing = [chore for chore, place in zip(chores, places, strict=True) if place is None]
            for chore in missing:
                # Remains of a job that was lost would count as that job's state.
                self._redis.delete(Job.key_for(chore))
                queue.enqueue_call(
                    FUNCTION, args=(chore,), job_id=chore, result_ttl=0, failure_ttl=FAILED_JOBS_KEPT, description=chore
                )
        except (redis.RedisError, OSError) as error:
            raise ChoreQueueError(f"the chores' Redis: {error}") from error
        return len(missing)


def connect(url: str, timeout: float) -> redis.Redis:
    """A client of the chores' Redis; it does not connect yet. Raises ValueError for an address that is none."""
    again = Retry(NoBackoff(), 1, supported_errors=(redis.ConnectionError,))
    return redis.Redis.from_url(
        url, protocol=2, socket_connect_timeout=timeout, socket_timeout=timeout, socket_keepalive=True, retry=again
    )
