"""The chores process: one worker of RQ."""

from __future__ import annotations

import logging
import signal
import sys
import time

import redis
import structlog

from controlplane.chores.kinds import Kinds
from controlplane.chores.queue import connect
from controlplane.chores.registry import KINDS
from controlplane.chores.runner import Runner
from controlplane.chores.worker import ChoreWorker
from controlplane.db.session import Database, make_engine
from controlplane.processes.common import configure_logs
from controlplane.settings import Settings

log = structlog.get_logger()
LONGEST_PAUSE = 5.0


def serve(settings: Settings, kinds: Kinds) -> None:
    """Run chores until asked to end; while Redis is away, wait for it."""
    url = settings.chores.get_secret_value()
    if not url:
        sys.exit("remora: no Redis for chores is set (REMORA_CHORES)")
    runner = Runner(Database(make_engine(settings.database_url.get_secret_value())), settings, kinds)
    pause = 0.1
    while True:
        began = time.monotonic()
        try:
            worker = ChoreWorker(connect(url, settings.lease_ttl), runner)
            log.info("chores_ready")
            worker.work(logging_level="WARNING")
            if worker.is_asked_to_end:
                return
        except redis.RedisError as error:
            log.warning("chores_queue_away", why=str(error)[:300])
        # The worker's handlers are gone with it: between two of them nothing runs that needs an orderly end.
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        pause = 0.1 if time.monotonic() - began > LONGEST_PAUSE else min(LONGEST_PAUSE, pause * 2)
        time.sleep(pause)


def main() -> None:
    """Run until asked to end."""
    configure_logs()
    # What RQ says of its own life is of no use to people; the chores' own events are.
    logging.getLogger("rq").setLevel(logging.WARNING)
    serve(Settings(), KINDS)  # pyright: ignore[reportCallIssue]


if __name__ == "__main__":
    main()
