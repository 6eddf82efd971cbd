"""This machine's container engine for this worker, and whether it may serve."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

from worker_bootstrap.agent import deadman
from worker_bootstrap.agent.config import AgentConfig
from worker_bootstrap.agent.deadman import Contact
from worker_bootstrap.agent.log import logger
from worker_bootstrap.agent.runtime.base import Problem, Runtime
from worker_bootstrap.agent.runtime.docker import DockerRuntime
from worker_bootstrap.agent.runtime.firewall import Firewall
from worker_bootstrap.agent.runtime.private import PrivateImages

ENGINE_PROBLEMS = frozenset({"engine", "engine_denied"})


class UnfitError(RuntimeError):
    """This machine can't serve; the message says what to do."""


def make_runtime(config: AgentConfig, home: Path, installation: str, machine: str) -> Runtime:
    """The engine behind its interface. Root has firewall rules, if they work here or nobody excused their absence.

    Containers carry the machine's id, not the worker's: a machine that became another worker finds its old ones too.
    """
    labels = {"remora.installation": installation, "remora.machine": machine}
    firewall = Firewall() if os.geteuid() == 0 else None
    if firewall is not None and config.allow_without_firewall and firewall.check() is not None:
        firewall = None
    private = PrivateImages(home / "private-images.json")
    return DockerRuntime(config.engine, private, labels, firewall, timeout=max(1.0, config.engine_timeout))


def judge(problems: list[Problem], *, allow_without_firewall: bool) -> list[Problem]:
    """The problems that keep this machine from serving. Pure."""
    fatal = [problem for problem in problems if problem.fatal]
    if not allow_without_firewall:
        fatal.extend(problem for problem in problems if problem.code == "firewall" and not problem.fatal)
    return fatal


def wait_until_fit(config: AgentConfig, home: Path, halted: threading.Event) -> bool:
    """Wait for the engine; False when the agent shall end. Raises UnfitError for what waiting does not mend."""
    pause, said = config.backoff_first, ""
    # An engine that does not answer may still run containers: only the lease tells.
    contact = Contact(time.monotonic(), running=True)
    while not halted.is_set():
        problems = make_runtime(config, home, "", "").check()
        fatal = judge(problems, allow_without_firewall=config.allow_without_firewall)
        if not fatal:
            for problem in problems:
                logger.warning("%s (%s)", problem.sentence, problem.fix)
            return True
        for problem in fatal:
            if problem.code not in ENGINE_PROBLEMS:
                raise UnfitError(f"{problem.sentence} Remedy: {problem.fix}")
        text = f"{fatal[0].sentence} Remedy: {fatal[0].fix}"
        if text != said:
            logger.warning("waiting: %s", text)
            said = text
        deadman.watch(config, contact)
        halted.wait(pause)
        pause = min(config.backoff_most, pause * 2)
    return False
