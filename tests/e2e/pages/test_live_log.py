"""The log on a page: its text, its window over any length, and the stream that feeds it."""

from __future__ import annotations

import json
import re

import httpx
import pytest
from playwright.sync_api import Page, Route, expect

from fixtures.dashboard import Dashboard
from fixtures.pages import Tabs

pytestmark = pytest.mark.needs("browser")
TIME = "2026-03-12T14:30:00.000000"


class FakeStream:
    """Answers the ticket and the stream; one list of events a connection, then refusal."""

    def __init__(self, tab: Page, *connections: list[tuple[str, str, object]]) -> None:
        self.connections = list(connections)
        self.headers: list[dict[str, str]] = []
        tab.route("**/api/v1/executions/*/stream-ticket/", self._ticket)
        tab.route("**/stream/executions/*/log", self._stream)

    def _ticket(self, route: Route) -> None:
        assert route.request.method == "POST"
        assert route.request.headers["x-csrf-token"]
        route.fulfill(json={"ticket": f"secret-{len(self.headers)}"})

    def _stream(self, route: Route) -> None:
        self.headers.append(route.request.headers)
        if not self.connections:
            route.abort()
            return
        events = self.connections.pop(0)
        body = ": hello\n\n" + "".join(
            f"event: {name}\nid: {id}\ndata: {json.dumps(data)}\n\n" for name, id, data in events
        )
        route.fulfill(body=body, content_type="text/event-stream")


def lines(first: int, texts: list[str], stream: str = "stdout") -> list[list[object]]:
    return [[seq, TIME, stream, text] for seq, text in enumerate(texts, first)]


def open_log(tab: Page, shown: Dashboard, state: str = "started", fragment: str = "") -> None:
    tab.goto(f"/executions/{shown.ids[state]}/{fragment}")
    tab.locator(".log-body li a").first.wait_for()


def test_lines_have_numbers_times_colours_and_kinds(tabs: Tabs, shown: Dashboard) -> None:
    tab = tabs()
    open_log(tab, shown, "error")
    items = tab.locator(".log-body li")
    expect(items).to_have_count(24)
    expect(items.nth(0)).to_have_class("status")
    expect(items.nth(1).locator("a")).to_have_attribute("href", "#L2")
    expect(items.nth(1).locator("time")).to_have_text(re.compile(r"^\d\d:\d\d:\d\d$"))
    expect(items.nth(1).locator(".a6")).to_have_text("INFO")
    expect(items.nth(5)).to_have_class("meta")
    expect(items.nth(18)).to_have_class("err")
    assert "\x1b" not in tab.locator(".log-body").inner_text()


@pytest.mark.parametrize(
    ("raw", "seen"),
    [
        ("<script>window.__pwned=1</script><img src=x onerror=window.__pwned=1>", None),
        ("\x1b]8;;javascript:window.__pwned=1\x07click\x1b]8;;\x07 here", "click here"),
        ("\x1b]52;c;aGk=\x07text", "text"),
        ("\x1b[2J\x1b[1;1Hhome\x1b[5A\x1b[?25l", "home"),
        ("a\u202eb\u2066c", "a\ufffdb\ufffdc"),
        ("10 %\r50 %\r100 %", "100 %"),
        ("\x1b[31mred\x1b[38;5;2mgreen\x1b[48;2;1;2;3mstill\x1b[0m", "redgreenstill"),
        ("cut off \x1b[3", "cut off "),
        ("tab\there \x00\x07bell", "tab\there bell"),
        ("\x9b31mC1 \x1bPq#0\x1b\\end", "31mC1 end"),
    ],
)
def test_control_sequences_stay_text(tabs: Tabs, shown: Dashboard, raw: str, seen: str | None) -> None:
    tab = tabs()
    FakeStream(tab, [("line", "2:1201", lines(1201, [raw])), ("end", "2:1201", {})])
    open_log(tab, shown)
    item = tab.locator("#L2-1201 > span")
    item.wait_for()
    assert item.text_content() == (raw if seen is None else seen)
    assert tab.evaluate("window.__pwned") is None
    assert item.locator("a, img, script").count() == 0


def test_a_million_colours_and_a_huge_line_do_not_hurt(tabs: Tabs, shown: Dashboard) -> None:
    tab = tabs()
    texts = ["\x1b[31m\x1b[32m" * 200_000 + "done", "x" * 3_000_000, "\x1b[31ma\x1b[32mb" * 5_000]
    FakeStream(tab, [("line", "2:1203", lines(1201, texts)), ("end", "2:1203", {})])
    open_log(tab, shown)
    tab.locator("#L2-1203").wait_for()
    expect(tab.locator("#L2-1202")).to_contain_text("2,980,000 more characters")
    assert tab.locator("#L2-1203 span").count() < 600


def test_the_stream_goes_on_after_a_break_without_gap_or_double(tabs: Tabs, shown: Dashboard) -> None:
    tab = tabs()
    fake = FakeStream(
        tab,
        [("line", "2:1202", lines(1201, ["one", "two"]))],
        [("line", "2:1204", lines(1202, ["two", "three", "four"])), ("end", "2:1204", {})],
    )
    open_log(tab, shown)
    expect(tab.locator("[data-log-note]")).to_contain_text("nothing is lost")
    expect(tab.locator("#L2-1204")).to_contain_text("four")
    expect(tab.locator("[data-log-note]")).to_be_hidden()
    assert tab.locator(".log-body li > span", has_text=re.compile("^two$")).count() == 1
    assert [headers.get("last-event-id") for headers in fake.headers] == ["2:1200", "2:1202"]
    assert [headers["authorization"] for headers in fake.headers] == ["Ticket secret-0", "Ticket secret-1"]


def test_a_gap_is_shown(tabs: Tabs, shown: Dashboard) -> None:
    tab = tabs()
    FakeStream(
        tab,
        [
            ("gap", "2:1209", {"first": 1201, "last": 1209, "reason": "the machine was lost"}),
            ("line", "2:1210", lines(1210, ["after"])),
            ("line", "2:1220", lines(1220, ["later"])),
            ("end", "2:1220", {}),
        ],
    )
    open_log(tab, shown)
    expect(tab.locator(".log-body .gap")).to_have_text(
        ["Lines 1201 to 1209 never arrived: the machine was lost.", "Lines 1211 to 1219 are not here."]
    )


def test_following_pauses_on_scroll_and_says_so(tabs: Tabs, shown: Dashboard) -> None:
    tab = tabs()
    open_log(tab, shown)
    follow = tab.locator("[data-log-follow]")
    expect(follow).to_have_text("Following")
    body = tab.locator(".log-body")
    assert body.evaluate("b => b.scrollHeight - b.scrollTop - b.clientHeight") < 5
    body.hover()
    tab.mouse.wheel(0, -600)
    expect(follow).to_have_text("Paused")
    top = body.evaluate("b => b.scrollTop")
    shown.add_log(shown.ids["attempt_started"], lines(1201, [f"new {n}" for n in range(5)]))
    expect(follow).to_have_text("Paused, 5 new")
    assert abs(body.evaluate("b => b.scrollTop") - top) < 2, "what is read stays where it is"
    follow.click()
    expect(follow).to_have_text("Following")
    expect(tab.locator("#L2-1205")).to_be_in_viewport()


def test_older_lines_come_on_scroll_and_the_document_stays_bounded(tabs: Tabs, shown: Dashboard) -> None:
    tab = tabs()
    texts = [f"line {n}" for n in range(100_000)]
    first = 2000
    FakeStream(tab, [("line", f"2:{first + 99_999}", lines(first, texts)), ("end", f"2:{first + 99_999}", {})])
    open_log(tab, shown)
    tab.locator(f"#L2-{first + 99_999}").wait_for()
    assert tab.locator(".log-body li").count() <= 3001
    open_log(tab, shown, "complete")
    expect(tab.locator("[data-log-range]")).to_have_text("Lines 701–1,200")
    tab.locator(".log-body").evaluate("b => { b.scrollTop = 0; }")
    expect(tab.locator("[data-log-range]")).to_have_text("Lines 201–1,200")
    expect(tab.locator("#L701")).to_be_in_viewport()


def test_a_link_to_a_line_opens_there(tabs: Tabs, shown: Dashboard) -> None:
    tab = tabs()
    open_log(tab, shown, "complete", "#L42")
    expect(tab.locator("#L42")).to_be_in_viewport()
    expect(tab.locator("#L42")).to_have_class(re.compile("here"))
    tab.locator("#L50 a").click()
    assert tab.url.endswith("#L50")
    expect(tab.locator("#L50")).to_have_class(re.compile("here"))
    tab.keyboard.press("ArrowDown")
    expect(tab.locator("#L51 a")).to_be_focused()


def test_search_marks_and_steps_and_wrap_wraps(tabs: Tabs, shown: Dashboard) -> None:
    tab = tabs()
    open_log(tab, shown, "error")
    tab.keyboard.press("/")
    tab.keyboard.type("TRAIN_LOSS")
    expect(tab.locator("[data-log-hits]")).to_have_text("5 hits")
    tab.keyboard.press("Enter")
    expect(tab.locator("[data-log-hits]")).to_have_text("1 of 5 hits")
    expect(tab.locator("mark.on")).to_have_text("train_loss")
    tab.get_by_role("button", name="Wrap").click()
    expect(tab.locator(".log-body")).to_have_class(re.compile("wrap"))


def test_earlier_attempts_can_be_read(tabs: Tabs, shown: Dashboard) -> None:
    tab = tabs()
    open_log(tab, shown, "crashed")
    expect(tab.get_by_label("Attempt")).to_have_value("3")
    tab.get_by_label("Attempt").select_option("1")
    expect(tab.locator(".log-body li a").first).to_have_attribute("href", "#L1")


def test_the_whole_log_is_a_file(shown: Dashboard) -> None:
    cookies = {"remora_session": shown.cookie("mira")}
    answer = httpx.get(f"{shown.url}/executions/{shown.ids['complete']}/log.txt", cookies=cookies, trust_env=False)
    assert answer.headers["content-disposition"].startswith("attachment")
    assert len(answer.text.splitlines()) == 1200
    foreign = {"remora_session": shown.cookie("vex")}
    url = f"{shown.url}/executions/{shown.ids['complete']}/log.txt"
    assert httpx.get(url, cookies=foreign, trust_env=False).status_code == 404
