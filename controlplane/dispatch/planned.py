"""Answers to workers in two steps: what the database says, and then, with no transaction open, what stores say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from worker_bootstrap.protocol.messages import Relay, UrlItem, Urls


@dataclass(frozen=True)
class Wish:
    """One address, known but for what its store says; `finish` raises StoreError.

    `waits_for` is the id of the store that has to be asked over a network, or empty; `by_user`: a user said
    where that is.
    """

    finish: Callable[[], UrlItem]
    waits_for: str = ""
    by_user: bool = False


@dataclass(frozen=True)
class Planned:
    """An answer, known but for what stores say. `payer`: who waits for their networks; empty: nobody has to."""

    payer: str
    finish: Callable[[], Urls | Relay]


def known(item: UrlItem) -> Wish:
    """A wish that is answered."""
    return Wish(lambda: item)


def payer_of(wishes: list[Wish], organization: str) -> str:
    """The organisation, where a store that somebody added is asked; else the installation's own store.

    So nobody's slow store takes the places of an installation's one.
    """
    waiting = [wish for wish in wishes if wish.waits_for]
    if any(wish.by_user for wish in waiting):
        return organization
    return waiting[0].waits_for if waiting else ""
