"""Links by which a client signs its user's browser in: once, within a minute, on to pages of this server only."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from urllib.parse import urlsplit

import pytest
from sqlalchemy import select

from controlplane.accounts.models import LoginLink
from controlplane.audit.models import AuditEvent
from controlplane.db.models import Base
from controlplane.db.session import SYSTEM
from fixtures.web import Caller, World

ME = "/api/v0/users/me/"
HERE = "http://remora.test:8765"
SAME = {"Origin": HERE, "Sec-Fetch-Site": "same-origin"}


def make(world: World, url: str = "/executions/", who: str = "ann") -> str:
    """The ticket of a new link."""
    answer = world.client(who).post("/api/v0/users/login_link/", json={"url": url})
    assert answer.status_code == 200, answer.text
    address = urlsplit(answer.json["url"])
    assert (f"{address.scheme}://{address.netloc}", address.path, address.query) == (HERE, "/login/link", "")
    assert len(address.fragment) > 40
    return address.fragment


def use(caller: Caller, ticket: str, **headers: str):
    return caller.post("/login/link", data={"ticket": ticket}, headers={**SAME, **headers})


@pytest.mark.security("N13")
def test_a_link_signs_in_once_and_leads_on(world: World) -> None:
    ticket, browser = make(world, f"{HERE}/executions/?status=error"), world.client()
    assert browser.get("/login/link").status_code == 200
    assert browser.get(ME).status_code == 401, "opening the page alone signs nobody in"
    answer = use(browser, ticket)
    assert (answer.status_code, answer.headers["Location"]) == (303, "/executions/?status=error")
    assert "HttpOnly" in answer.headers["Set-Cookie"]
    assert browser.get(ME).json["username"] == "ann"
    again = use(world.client(), ticket)
    assert again.status_code == 400 and "has been used" in again.text


@pytest.mark.security("N13")
def test_it_is_over_after_a_minute_and_with_its_user(world: World) -> None:
    ticket = make(world)
    world.clock.now += timedelta(seconds=61)
    assert use(world.client(), ticket).status_code == 400
    ticket = make(world, who="bob")
    world.services.accounts.disable_user("bob")
    assert use(world.client(), ticket).status_code == 400
    assert use(world.client(), "x" * 43).status_code == 400
    assert use(world.client(), "").status_code == 400


@pytest.mark.security("N13")
def test_of_two_who_come_at_once_one_is_late(world: World) -> None:
    ticket = make(world)
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: use(world.client(), ticket).status_code, range(4)))
    assert sorted(answers) == [303, 400, 400, 400]


@pytest.mark.security("N10")
def test_who_is_signed_in_stays_who_they_are(world: World) -> None:
    ticket, browser = make(world), world.browser("bob")
    answer = use(browser, ticket)
    assert answer.status_code == 409 and "Somebody else is signed in" in answer.text
    assert browser.get(ME).json["username"] == "bob"
    own = world.browser("ann")
    assert use(own, ticket).status_code == 303, "the link stayed good for its own user"


@pytest.mark.security("N10")
def test_another_site_can_not_send_the_form(world: World) -> None:
    ticket = make(world)
    for headers in ({"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
        assert use(world.client(), ticket, **headers).status_code == 403
    assert use(world.client(), ticket).status_code == 303


@pytest.mark.parametrize(
    "url",
    ["https://evil.example/", "//evil.example/", "/\\evil.example", "javascript:alert(1)", f"{HERE}.evil.example/",
     f"{HERE}@evil.example/", "executions/", "", "http://remora.test:8766/", f"{HERE}//evil.example/", "/a\nb"],
)  # fmt: skip
def test_it_leads_nowhere_else(world: World, url: str) -> None:
    answer = world.client("ann").post("/api/v0/users/login_link/", json={"url": url})
    assert answer.status_code == 400
    assert "A page of this server" in answer.json["url"][0]["message"]


@pytest.mark.security("N06")
def test_its_ticket_is_kept_nowhere_and_its_use_is_in_the_audit_log(world: World) -> None:
    answer = world.client("ann").post(
        "/api/v0/users/login_link/", json={"url": "/"}, headers={"Idempotency-Key": "once"}
    )
    ticket = urlsplit(answer.json["url"]).fragment
    use(world.client(), ticket)
    with world.services.db.read(SYSTEM) as session:
        for table in Base.metadata.sorted_tables:
            assert ticket not in str(session.execute(select(table)).all()), table.name
        assert session.scalars(select(LoginLink)).one().used_at is not None
        said = [row.action for row in session.scalars(select(AuditEvent).order_by(AuditEvent.at))]
    assert said.count("login_link.created") == 1 and said.count("login_link.used") == 1
