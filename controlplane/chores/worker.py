"""RQ's worker, narrowed: one function, arguments as JSON, no commands, nothing imported by a name in Redis.

Chores run in the worker's own process, one after the other. RQ's usual child per job would cost memory for each, and
outlives a worker that is killed, so that two copies run at once. What the child gives is had otherwise: a chore that
crashes or hangs takes this process with it, the supervisor starts another, and the chore's lease lets that one go on.
"""

from __future__ import annotations

from typing import Any

import structlog
from redis import Redis
from rq import Queue
from rq.exceptions import DeserializationError
from rq.job import Job
from rq.worker import SimpleWorker

from controlplane.chores.errors import JobRefusedError
from controlplane.chores.queue import FUNCTION, QUEUE
from controlplane.chores.runner import Runner
from controlplane.db.ids import is_id

log = structlog.get_logger()
# RQ waits for a job for 15 s less than this: a connection that is dead without having ended is noticed by then.
WORKER_TTL = 60


class ChoreJob(Job):
    """A job that can do one thing. RQ would import whatever its hash names: function, callbacks, web addresses."""

    runner: Runner | None = None

    def chore(self) -> str:
        """The chore that it is for. Raises JobRefusedError for a job that asks for anything else."""
        try:
            name, instance, args, kwargs = self.func_name, self.instance, list(self.args), self.kwargs
        except (DeserializationError, TypeError) as error:
            raise JobRefusedError("its data is no call in JSON") from error
        if name != FUNCTION or instance is not None:
            raise JobRefusedError(f"it names {str(name)[:100]!r}; only {FUNCTION!r} is allowed")
        if kwargs or len(args) != 1 or not isinstance(args[0], str) or not is_id(args[0]):
            raise JobRefusedError("its argument is no chore's id")
        return args[0]

    def _execute(self) -> None:
        assert self.runner is not None
        self.runner.run(self.chore())

    @property
    def func(self) -> Any:
        """Nothing: no name of Redis is ever imported."""
        raise JobRefusedError("functions are not looked up by their name")

    @property
    def success_callback(self) -> None:
        """None."""
        return

    @property
    def failure_callback(self) -> None:
        """None."""
        return

    @property
    def stopped_callback(self) -> None:
        """None."""
        return

    @property
    def should_retry(self) -> bool:
        """Never: the row says when a chore is tried again."""
        return False

    def send_webhooks(self, *_: Any, **__: Any) -> None:
        """None are sent."""


class ChoreWorker(SimpleWorker):
    """Takes chores from RQ until it is asked to end."""

    # The supervisor restarts nothing while Redis is away: the worker waits for it, and looks often.
    max_connection_wait_time = 5.0
    log_result_lifespan = False

    def __init__(self, connection: Redis, runner: Runner) -> None:
        queue = Queue(QUEUE, connection=connection, job_class=ChoreJob, serializer="json")
        super().__init__(
            [queue],
            connection=connection,
            job_class=ChoreJob,
            serializer="json",
            log_job_description=False,
            worker_ttl=WORKER_TTL,
        )
        self._runner = runner

    @property
    def is_asked_to_end(self) -> bool:
        """Whether a signal has come."""
        return self._shutdown_requested_date is not None

    def execute_job(self, job: Job, queue: Queue) -> None:
        """Run the chore of an honest job; drop any other job, and say so."""
        assert isinstance(job, ChoreJob)
        try:
            job.chore()
        except JobRefusedError as error:
            log.error("chore_job_refused", job=job.id[:100], why=str(error))
            self.connection.lrem(queue.intermediate_queue_key, 1, job.id)
            self.connection.delete(job.key)
            return
        job.runner, job.timeout = self._runner, self._runner.limit
        super().execute_job(job, queue)

    def handle_warm_shutdown_request(self) -> None:
        """A signal: the chore that runs goes back to those that wait."""
        self._runner.stop()

    def subscribe(self) -> None:
        """Take no commands from Redis: signals of the supervisor are enough."""
