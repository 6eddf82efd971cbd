"""When a machine that nobody leads any more powers itself off."""

from __future__ import annotations

import subprocess
import time
from dataclasses import dataclass

from worker_bootstrap.agent.config import AgentConfig
from worker_bootstrap.agent.log import logger


@dataclass(frozen=True)
class Contact:
    """`last_heard`: when the master last spoke to this machine, or when the agent started if it never did."""

    last_heard: float
    running: bool


def should_power_off(now: float, contact: Contact, max_offline: float, lease_lost_after: float) -> bool:
    """Whether to power off. Seconds of one clock; `max_offline` 0 switches it off. Pure.

    While a container runs its lease must be lost too: then the master has granted the work elsewhere.
    """
    if max_offline <= 0:
        return False
    cut_off = now - contact.last_heard
    if cut_off < max_offline:
        return False
    return not contact.running or cut_off >= max_offline + lease_lost_after


def watch(config: AgentConfig, contact: Contact) -> None:
    """Power off when it is time. It is only asked for: the agent goes on until the machine ends."""
    now = time.monotonic()
    if not should_power_off(now, contact, config.max_offline, config.lease_lost_after):
        return
    logger.error("cut off for %.0f s: powering off", now - contact.last_heard)
    if config.power_off:
        subprocess.run(config.power_off, check=False)
