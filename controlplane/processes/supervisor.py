"""The supervisor process of the embedded form: Redis, web, stream, loops, chores and this machine's agent."""

from __future__ import annotations

import sys

from controlplane.embedded.ready import redis_answers, web_answers
from controlplane.embedded.supervisor import ProcessSpec, Supervisor, Timing, stop_on_signals
from controlplane.processes.common import configure_logs
from controlplane.settings import Settings


def specs(settings: Settings) -> list[ProcessSpec]:
    """The processes of one machine, in the order of their start."""
    python = (sys.executable, "-m")
    queue = settings.queue_url.get_secret_value()
    return [
        ProcessSpec(
            "redis", ("redis-server", str(settings.home / "redis" / "redis.conf")), lambda: redis_answers(queue)
        ),
        ProcessSpec("loops", (*python, "controlplane.processes.loops")),
        # The agent downloads through `web`: it starts when that answers.
        ProcessSpec("web", (*python, "controlplane.processes.web"), lambda: web_answers(settings)),
        # Ended before `web`, so that nobody who watches a log keeps that one waiting.
        ProcessSpec("stream", (*python, "controlplane.processes.stream")),
        ProcessSpec("agent", (*python, "worker_bootstrap.agent", "--home", str(settings.home / "agent"))),
        ProcessSpec("chores", (*python, "controlplane.processes.chores")),
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
    Supervisor(specs(settings), settings.run_dir, settings.log_dir, timing(settings)).run(stop_on_signals())


if __name__ == "__main__":
    main()
