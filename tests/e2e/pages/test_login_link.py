"""A client's link in a real browser: the ticket leaves the address at once, and a click signs in."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from fixtures.dashboard import Dashboard
from fixtures.pages import Tabs


def link(shown: Dashboard, user: str = "mira") -> str:
    ticket = shown.services.login_links.make(shown.ids[user], "/environments/", "127.0.0.1")
    return f"/login/link#{ticket}"


@pytest.mark.parametrize(("theme", "width"), [("light", 1440), ("dark", 360)])
def test_a_click_signs_in_and_leads_on(tabs: Tabs, shown: Dashboard, theme: str, width: int) -> None:
    tab = tabs("", theme=theme, width=width)
    asked: list[str] = []
    tab.on("request", lambda request: asked.append(f"{request.url} {request.headers.get('referer', '')}"))
    address = link(shown)
    tab.goto(address)
    assert tab.evaluate("location.hash") == ""
    assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth")
    tab.get_by_role("button", name="Log in").click()
    expect(tab).to_have_url(f"{shown.url}/environments/")
    ticket = address.partition("#")[2]
    assert asked and not [one for one in asked if ticket in one]


def test_without_a_ticket_there_is_nothing_to_click(tabs: Tabs) -> None:
    tab = tabs("")
    tab.goto("/login/link")
    expect(tab.get_by_role("button", name="Log in")).to_be_disabled()
