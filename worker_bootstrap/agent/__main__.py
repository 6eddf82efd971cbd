"""`python -m worker_bootstrap.agent --home DIR`"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from pathlib import Path

from worker_bootstrap.agent.config import ConfigError, read_config
from worker_bootstrap.agent.lock import AlreadyRunningError, only_one
from worker_bootstrap.agent.log import configure, logger
from worker_bootstrap.agent.machine import UnfitError, wait_until_fit
from worker_bootstrap.agent.service import Agent

UNUSABLE = 78  # EX_CONFIG: starting again does not help


def main() -> None:
    """Run the agent of the folder that the command line names."""
    parser = argparse.ArgumentParser(prog="remora-agent", description="Runs attempts on this machine.")
    parser.add_argument("--home", type=Path, required=True, help="folder with agent.json")
    sys.exit(serve(parser.parse_args().home))


def serve(folder: Path) -> int:
    """Run until asked to end (SIGTERM, SIGINT). Containers and line keepers live on.

    Returns only when the settings or the machine are unusable.
    """
    home = folder.resolve()
    os.umask(0o022)
    configure()
    halted = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: halted.set())
    try:
        config = read_config(home)
        with only_one(home / "agent.lock"):
            if wait_until_fit(config, home, halted):
                Agent(home, config, halted).run()
    except (ConfigError, UnfitError, AlreadyRunningError) as error:
        logger.error("%s", error)
        return UNUSABLE
    sys.stdout.flush()
    os._exit(0)  # threads that wait for the network must not keep the service waiting


if __name__ == "__main__":
    main()
