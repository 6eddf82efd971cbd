"""The supervisor process of the embedded form: Redis, web, stream, loops, chores and this machine's agent.

It imports what its own processes need, once, and forks them: on one machine they share most of that memory. Elsewhere
each of them starts by itself, as `python -m controlplane.processes.NAME`.
"""

from __future__ import annotations

import gc
import sys

from controlplane.embedded.ready import redis_answers, web_answers
from controlplane.embedded.supervisor import ProcessSpec, Supervisor, Timing, stop_on_signals
from controlplane.processes import chores, loops, stream, web
from controlplane.processes.common import configure_logs
from controlplane.settings import Settings


def specs(settings: Settings) -> list[ProcessSpec]:
    """The processes of one machine, in the order of their start."""
    queue = settings.queue_url.get_secret_value()
    # Another program that is only installed beside this one.
    agent = (sys.executable, "-m", "worker_bootstrap.agent", "--home", str(settings.home / "agent"))
    return [
        ProcessSpec(
            "redis", ("redis-server", str(settings.home / "redis" / "redis.conf")), lambda: redis_answers(queue)
        ),
        ProcessSpec("loops", loops.main),
        # The agent downloads through `web`: it starts when that answers.
        ProcessSpec("web", web.main, lambda: web_answers(settings)),
        # Ended before `web`, so that nobody who watches a log keeps that one waiting.
        ProcessSpec("stream", stream.main),
        *([ProcessSpec("agent", agent)] if settings.embedded_worker else []),
        ProcessSpec("chores", chores.main),
    ]


def timing(settings: Settings) -> Timing:
    """Supervision's times from the settings."""
    return Timing(
        first_pause=settings.restart_pause,
        longest_pause=settings.longest_restart_pause,
        grace=settings.drain_timeout,
        log_bytes=settings.log_file_bytes,
        log_files=settings.log_files,
    )


def main() -> None:
    """Run until asked to end."""
    configure_logs()
    settings = Settings()  # pyright: ignore[reportCallIssue]
    # The collector leaves alone what is there now: to look at it would make a copy of it in every process.
    gc.collect()
    gc.freeze()
    Supervisor(specs(settings), settings.run_dir, settings.log_dir, timing(settings)).run(stop_on_signals())


if __name__ == "__main__":
    main()
