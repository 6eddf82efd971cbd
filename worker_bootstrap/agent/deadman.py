"""When a machine that nobody leads any more powers itself off. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Contact:
    """`last_heard`: when the master last spoke to this machine, or when the agent started if it never did."""

    last_heard: float
    running: bool


def should_power_off(now: float, contact: Contact, max_offline: float, lease_lost_after: float) -> bool:
    """Whether to power off. Seconds of one clock; `max_offline` 0 switches it off.

    While a container runs its lease must be lost too: then the master has granted the work elsewhere.
    """
    if max_offline <= 0:
        return False
    cut_off = now - contact.last_heard
    if cut_off < max_offline:
        return False
    return not contact.running or cut_off >= max_offline + lease_lost_after
