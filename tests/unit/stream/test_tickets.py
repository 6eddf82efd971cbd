"""Tickets for the live stream."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from controlplane.stream.tickets import Ticket, Tickets

EXECUTION = "01a20cbc-155d-7091-aa92-73bd03c695d2"
OTHER = "01a20cbc-155d-7091-aa92-73bd03c695d3"
ORGANIZATION = "01a20cbc-155d-7091-aa92-73bd03c695d4"


class Clock:
    def __init__(self) -> None:
        self.now = datetime(2026, 3, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def tickets(clock: Clock) -> Tickets:
    return Tickets(b"s" * 32, 60, clock)


def test_it_opens_its_execution_until_it_ends(tickets: Tickets, clock: Clock) -> None:
    made = tickets.make(EXECUTION, ORGANIZATION)
    assert tickets.open(made, EXECUTION) == Ticket(EXECUTION, ORGANIZATION)
    assert tickets.open(made, OTHER) is None
    clock.now += timedelta(seconds=59)
    assert tickets.open(made, EXECUTION)
    clock.now += timedelta(seconds=1)
    assert tickets.open(made, EXECUTION) is None


def test_no_other_text_opens_anything(tickets: Tickets, clock: Clock) -> None:
    made = tickets.make(EXECUTION, ORGANIZATION)
    later = made.replace(made.split(".")[2], "99999999999")
    stranger = Tickets(b"t" * 32, 60, clock).make(EXECUTION, ORGANIZATION)
    moved = made.replace(ORGANIZATION, OTHER)
    for text in (later, stranger, moved, made[:-1], made + "=", "", "....", "a" * 10_000, made.upper(), f"é{made}"):
        assert tickets.open(text, EXECUTION) is None, text
