"""`python -m worker_bootstrap.agent --home DIR`"""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from pathlib import Path

from worker_bootstrap.agent.config import read_config
from worker_bootstrap.agent.identity import JoinRefusedError
from worker_bootstrap.agent.service import Agent, log, wait_for_engine


def main() -> None:
    """Run until asked to end. Containers and line keepers live on."""
    parser = argparse.ArgumentParser(prog="remora-agent")
    parser.add_argument("--home", type=Path, required=True)
    home = parser.parse_args().home
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    config = read_config(home)
    try:
        wait_for_engine(config, stop)
        Agent(home, config, stop).run()
    except JoinRefusedError as error:
        log(str(error))
        sys.exit(1)


if __name__ == "__main__":
    main()
