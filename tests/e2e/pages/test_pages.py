"""The dashboard in a real browser: what people see, with every page watched for foreign requests and script errors."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Page, expect

from controlplane.executions.models import Execution
from fixtures.dashboard import Dashboard, dashboard
from fixtures.dashboard_hostile import HOSTILE
from fixtures.dashboard_seed import PASSWORD
from fixtures.pages import Tabs

pytestmark = pytest.mark.needs("browser")
STATES = ("created", "queued", "started", "stopping", "complete", "error", "stopped", "crashed")


def paths(shown: Dashboard) -> dict[str, str]:
    """Every page that mira may open."""
    ids = shown.ids
    return {
        "projects": "/projects/",
        "new project": "/projects/new",
        "executions": f"/projects/{ids['project']}/",
        "nothing matches": f"/projects/{ids['project']}/?q=nothing-like-this",
        "no executions": f"/projects/{ids['project_empty']}/",
        "repository": f"/projects/{ids['project']}/repository",
        "stores": f"/projects/{ids['project']}/stores",
        "a store of Swift": f"/projects/{ids['project']}/stores?kind=swift",
        "no repository": f"/projects/{ids['project_empty']}/repository",
        **{state: f"/executions/{ids[state]}/" for state in STATES},
        "stop": f"/executions/{ids['started']}/stop",
        "environments": "/environments/",
        "registries": "/registries/",
        **{f"a registry by {kind}": f"/registries/?type={kind}" for kind in ("aws-ecr", "gcp-cr", "azure-acr")},
        "environment": "/environments/gpu-v100/",
        "not found": "/nothing",
    }


def settle(tab: Page) -> None:
    """Until fonts and log are there."""
    tab.evaluate("document.fonts.ready")
    if tab.locator("[data-log]").count():
        tab.locator(".log-body li").first.wait_for()


# ---- every page ------------------------------------------------------------------------------------
@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1440, 390])
def test_every_page_fits_its_window_and_is_accessible(
    tabs: Tabs, shown: Dashboard, axe: Callable[[Page], list[str]], theme: str, width: int
) -> None:
    tab = tabs(width=width, height=900 if width > 1000 else 844, theme=theme)
    found: dict[str, list[str]] = {}
    for name, path in paths(shown).items():
        if name in ("created", "stopping", "stopped") and (width, theme) != (1440, "light"):
            continue  # the same parts as other states, in colours that these show too
        tab.goto(path)
        settle(tab)
        assert tab.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0, f"{name} scrolls sideways"
        assert tab.locator("h1").count() == 1, name
        if violations := axe(tab):
            found[name] = violations
    assert not found


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_registries_with_a_credential_and_its_test(
    tabs: Tabs, shown: Dashboard, axe: Callable[[Page], list[str]], theme: str
) -> None:
    tab = tabs(width=390, height=844, theme=theme)
    tab.goto(f"{shown.url}/registries/")
    tab.fill("#image_pattern", "a-registry-with-a-long-name.some-company.example:5000/a-team/a-rather-long-name/*")
    tab.fill("#username", "alice")
    tab.fill("#password", "secret")
    tab.get_by_role("button", name="Add the credential").click()
    tab.get_by_role("button", name="Test").click()
    expect(tab.get_by_role("status").filter(has_text="has no address that may be used")).to_be_visible()
    assert tab.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    assert axe(tab) == []
    tab.get_by_role("link", name="Remove").click()
    remove = tab.get_by_role("button", name="Remove the credential")
    expect(remove).to_be_visible()
    settle(tab)
    assert axe(tab) == []
    remove.click()
    expect(tab.get_by_text("No credentials yet")).to_be_visible()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_login_and_dialogs_are_accessible(
    tabs: Tabs, shown: Dashboard, axe: Callable[[Page], list[str]], theme: str
) -> None:
    tab = tabs("", theme=theme)
    tab.goto("/login")
    assert axe(tab) == []
    inside = tabs(theme=theme)
    inside.goto(f"/executions/{shown.ids['started']}/")
    settle(inside)
    for opener in ("Copy as CLI", "Stop"):
        inside.get_by_text(opener, exact=True).first.click()
        assert inside.locator("dialog[open]").count() == 1
        assert axe(inside) == []
        inside.keyboard.press("Escape")


def test_every_answer_has_the_strict_policy_and_no_inline_code(shown: Dashboard) -> None:
    with httpx.Client(base_url=shown.url, trust_env=False, cookies={"remora_session": shown.cookie("mira")}) as client:
        for name, path in {**paths(shown), "login": "/login"}.items():
            answer = client.get(path)
            policy = answer.headers["content-security-policy"]
            assert "unsafe" not in policy and "default-src 'none'" in policy, name
            assert not re.search(r"<script(?![^>]*\ssrc=)|\sstyle=|\son[a-z]+=|javascript:|<style", answer.text), name


def test_hostile_text_is_inert_on_every_page(tabs: Tabs, shown: Dashboard) -> None:
    tab = tabs("vex")
    ids = shown.ids
    for path in (
        "/projects/",
        f"/projects/{ids['project_hostile']}/",
        f"/executions/{ids['hostile']}/",
        "/environments/",
        "/environments/hostile/",
    ):
        tab.goto(path)
        settle(tab)
        tab.wait_for_timeout(200)
        assert tab.evaluate("window.__pwned") is None, path
        assert tab.locator("img").count() == 0, path
        assert HOSTILE in tab.locator("body").inner_text(), path


# ---- signing in ------------------------------------------------------------------------------------
def test_a_page_leads_to_the_login_and_back(tabs: Tabs, shown: Dashboard) -> None:
    tab = tabs("")
    tab.goto(f"/projects/{shown.ids['project']}/?q=batch")
    assert "/login?next=" in tab.url
    tab.fill("#username", "mira")
    tab.fill("#password", PASSWORD)
    tab.get_by_role("button", name="Log in").click()
    tab.wait_for_url(f"**/projects/{shown.ids['project']}/?q=batch")
    session = next(c for c in tab.context.cookies() if c["name"] == "remora_session")
    assert session["httpOnly"] and session["sameSite"] == "Lax"
    tab.get_by_role("button", name="Log out").click()
    tab.wait_for_url("**/login")
    cookies = {"remora_session": session["value"]}
    again = httpx.get(f"{shown.url}/projects/", cookies=cookies, trust_env=False)
    assert again.status_code == 303, "the session ended on the server too"


@pytest.mark.parametrize(
    "wanted",
    ["//evil.example/", "https://evil.example/", "/\\evil.example", "/\t/evil.example", "javascript:alert(1)", "evil"],
)
def test_login_goes_to_local_pages_only(shown: Dashboard, wanted: str) -> None:
    form = {"username": "mira", "password": PASSWORD, "next": wanted}
    answer = httpx.post(f"{shown.url}/login", data=form, trust_env=False)
    assert answer.status_code == 303
    assert answer.headers["location"] == "/projects/"


def test_a_wrong_password_and_too_many_say_so(chromium, tmp_path: Path) -> None:
    with dashboard(tmp_path, login_attempts_per_minute=2) as own:
        tabs = Tabs(chromium, own)
        tab = tabs("")
        tab.on("console", lambda _: None)
        tab.goto("/login")
        for sentence in ("Name or password is wrong.", "Name or password is wrong.", "Too many wrong passwords"):
            tab.fill("#username", "mira")
            tab.fill("#password", "not this one")
            tab.get_by_role("button", name="Log in").click()
            expect(tab.get_by_role("alert")).to_contain_text(sentence)
            expect(tab.locator("#username")).to_have_value("mira")
            expect(tab.locator("#password")).to_have_value("")
        tab.context.close()


def test_another_site_can_not_log_somebody_in(shown: Dashboard) -> None:
    form = {"username": "mira", "password": PASSWORD}
    answer = httpx.post(f"{shown.url}/login", data=form, headers={"Origin": "https://evil.example"}, trust_env=False)
    assert answer.status_code == 403
    assert "set-cookie" not in answer.headers


# ---- theme and keys ----------------------------------------------------------------------------------
def test_the_theme_is_kept_and_rendered_by_the_server(tabs: Tabs, shown: Dashboard) -> None:
    tab = tabs(theme="light")
    tab.goto("/projects/")
    tab.get_by_role("button", name="Switch between light and dark").click()
    expect(tab.locator("html")).to_have_attribute("data-theme", "dark")
    assert 'data-theme="dark"' in tab.goto("/environments/").text()  # type: ignore[union-attr]
    background = tab.evaluate("getComputedStyle(document.body).backgroundColor")
    assert background == "rgb(14, 22, 25)"


def test_keys_filter_help_and_go(tabs: Tabs, shown: Dashboard) -> None:
    tab = tabs()
    tab.goto(f"/projects/{shown.ids['project']}/")
    tab.keyboard.press("/")
    expect(tab.get_by_role("searchbox")).to_be_focused()
    tab.keyboard.type("g p ?")
    assert tab.url.endswith("/"), "keys typed into a field are text"
    tab.locator("h1").click()
    tab.keyboard.press("?")
    expect(tab.get_by_role("dialog", name="Keyboard")).to_be_visible()
    tab.keyboard.press("Escape")
    tab.keyboard.press("g")
    tab.keyboard.press("p")
    tab.wait_for_url("**/projects/")


# ---- projects and executions -------------------------------------------------------------------------
def test_a_project_is_made_by_the_form_and_a_refusal_names_the_field(tabs: Tabs, shown: Dashboard) -> None:
    tab = tabs()
    tab.goto("/projects/")
    tab.get_by_role("link", name="Create project").click()
    tab.fill("#name", "hull-inspection")
    tab.get_by_role("button", name="Create project").click()
    expect(tab.locator("#name-error")).to_contain_text("choose another name")
    expect(tab.locator("#name")).to_have_attribute("aria-invalid", "true")
    tabs._open[-1][1].complaints.clear()  # the browser logs the refusal's status
    tab.fill("#name", "reef survey")
    tab.get_by_role("button", name="Create project").click()
    expect(tab.get_by_role("heading", name="No executions yet")).to_be_visible()
    expect(tab.get_by_text("vh project link 'reef survey'")).to_be_visible()


def test_the_first_execution_opens_by_itself(tabs: Tabs, shown: Dashboard) -> None:
    tab = tabs()
    tab.goto(f"/projects/{shown.ids['project_empty']}/")
    expect(tab.get_by_text("Waiting for the first execution.")).to_be_visible()
    made = shown.add_execution("project_empty")
    tab.wait_for_url(f"**/executions/{made}/")


def test_filters_stand_in_the_address_and_pages_turn(tabs: Tabs, shown: Dashboard) -> None:
    tab = tabs()
    tab.goto(f"/projects/{shown.ids['project']}/")
    expect(tab.locator("tbody tr")).to_have_count(50)
    tab.get_by_role("link", name="Older").click()
    expect(tab.locator(".tbl-foot")).to_contain_text("51–")
    tab.get_by_role("link", name=re.compile("Waiting")).click()
    expect(tab.locator("tbody tr .state")).to_have_text(["Created", "Queued"])
    assert "status=created%2Cqueued" in tab.url
    tab.goto(f"/projects/{shown.ids['project']}/")
    tab.fill("[data-find]", "convnext")
    tab.keyboard.press("Enter")
    expect(tab.locator("tbody tr")).to_have_count(2)
    assert "q=convnext" in tab.url
    tab.get_by_role("link", name="Clear").click()
    expect(tab.locator("tbody tr")).to_have_count(50)
    tab.select_option("#step", "export-onnx")
    tab.wait_for_url("**step=export-onnx**")
    assert set(tab.locator("tbody tr td:nth-child(3)").all_inner_texts()) == {"export-onnx"}


def test_states_change_without_reload_and_new_ones_are_announced(tabs: Tabs, shown: Dashboard) -> None:
    tab = tabs()
    tab.goto(f"/projects/{shown.ids['project']}/")
    tab.evaluate("window.kept = true")
    row = tab.locator(f"#e-{shown.ids['queued']}")
    expect(row).to_contain_text("All 6 slots of GPU V100 are busy")
    shown.update(Execution, shown.ids["queued"], reason="no_worker_in_group", reason_args={"environment": "GPU V100"})
    expect(row).to_contain_text("No machine has joined GPU V100")
    arguments = {"environment": "GPU V100", "slots": 6, "position": 1}
    shown.update(Execution, shown.ids["queued"], reason="all_busy", reason_args=arguments)
    first = tab.locator("tbody tr").first.get_attribute("id")
    shown.add_execution("project")
    expect(tab.get_by_role("link", name="Show 1 new execution")).to_be_visible()
    assert tab.locator("tbody tr").first.get_attribute("id") == first, "rows stay under the pointer"
    assert tab.evaluate("window.kept")


def test_each_state_says_its_word_and_its_sentence(tabs: Tabs, shown: Dashboard) -> None:
    sentences = {
        "queued": "All 6 slots of GPU V100 are busy",
        "started": "Training epoch 38 of 60",
        "error": "ended with code 1",
        "crashed": "Not your code.",
        "stopped": "jonas",
    }
    tab = tabs()
    for state in STATES:
        tab.goto(f"/executions/{shown.ids[state]}/")
        expect(tab.locator("#head .state.chip")).to_have_text(state.capitalize())
        expect(tab.locator("#content")).to_contain_text(sentences.get(state, ""))
    tab.goto(f"/executions/{shown.ids['started']}/")
    names = tab.locator("#phases b").all_inner_texts()
    assert names == ["Created", "Queued", "Attempt 1", "Queued again", "Image", "Inputs", "Command", "Outputs"]


def test_one_execution_shows_what_it_is_made_of(tabs: Tabs, shown: Dashboard) -> None:
    tab = tabs()
    tab.goto(f"/executions/{shown.ids['complete']}/")
    rail = tab.locator("aside.rail")
    for text in ("learning_rate", "0.0003", "val_map", "0.8417", "hull-tiles-v7.tar", "GPU V100", "9.2 GB of 64.0 GB"):
        expect(rail).to_contain_text(text)
    expect(rail.locator("#rail-variables")).to_contain_text("secret")
    assert "cipher" not in tab.content()
    with tab.expect_download() as download:
        rail.get_by_role("link", name="model.onnx").click()
    assert Path(download.value.path()).stat().st_size == 114_000
    tab.get_by_role("button", name="Copy as CLI").click()
    expect(tab.get_by_role("dialog").locator("code")).to_contain_text("--learning-rate=0.0003")


def test_stop_asks_first_and_then_stops(tabs: Tabs, shown: Dashboard) -> None:
    made = shown.add_execution("project")
    tab = tabs()
    tab.goto(f"/executions/{made}/")
    tab.get_by_role("link", name="Stop").click()
    dialog = tab.get_by_role("dialog")
    dialog.get_by_role("button", name="Keep running").click()
    expect(tab.locator("#head .state.chip")).to_have_text("Queued")
    tab.get_by_role("link", name="Stop").click()
    dialog.get_by_role("button", name=re.compile("Stop #")).click()
    expect(tab.locator("#head .state.chip")).to_have_text("Stopped")
    expect(tab.get_by_role("link", name="Stop")).to_have_count(0)


def test_without_scripts_it_can_be_filtered_and_stopped(tabs: Tabs, shown: Dashboard) -> None:
    made = shown.add_execution("project", title="no scripts here")
    tab = tabs(script=False)
    tab.goto(f"/projects/{shown.ids['project']}/")
    tab.fill("[data-find]", "no scripts")
    tab.get_by_role("button", name="Filter").click()
    tab.locator("tbody a.k").click()
    tab.get_by_role("link", name="Stop").click()
    tab.get_by_role("button", name=re.compile("Stop #")).click()
    tab.wait_for_url(f"**/executions/{made}/")
    expect(tab.locator("#head .state.chip")).to_have_text("Stopped")


def test_a_stop_without_the_forms_token_is_refused(shown: Dashboard) -> None:
    cookies = {"remora_session": shown.cookie("mira")}
    answer = httpx.post(f"{shown.url}/executions/{shown.ids['started']}/stop", cookies=cookies, trust_env=False)
    assert answer.status_code == 403
    assert "reload the page" in answer.text


# ---- environments, errors ----------------------------------------------------------------------------
def test_environments_show_machines_and_what_waits(tabs: Tabs, shown: Dashboard) -> None:
    tab = tabs()
    tab.goto("/environments/")
    row = tab.locator(f"#g-{shown.ids['bergen']}")
    expect(row).to_contain_text("1 silent")
    expect(row.get_by_role("img")).to_have_attribute("aria-label", "Slots: 1 busy, 1 silent or lost")
    tab.get_by_role("link", name="GPU V100").click()
    expect(tab.locator("#env-machines")).to_contain_text("draining")
    expect(tab.locator("#env-executions")).to_contain_text("All 6 slots")


def test_errors_come_in_the_same_design(tabs: Tabs, shown: Dashboard, monkeypatch: pytest.MonkeyPatch) -> None:
    tab = tabs("jonas")
    tab.goto("/nothing")
    expect(tab.get_by_role("heading", name="Nothing here")).to_be_visible()
    expect(tab.get_by_role("navigation", name="Main")).to_be_visible()
    tab.goto(f"/executions/{shown.ids['hostile']}/")
    expect(tab.get_by_role("heading", name="Nothing here")).to_be_visible()
    tab.goto(f"/executions/{shown.ids['started']}/")
    expect(tab.get_by_role("link", name="Stop")).to_have_count(0)
    tab.goto(f"/executions/{shown.ids['started']}/stop")
    expect(tab.get_by_role("heading", name="Not allowed")).to_be_visible()
    monkeypatch.setattr(shown.services.projects, "list", None)
    tab.goto("/projects/")
    expect(tab.get_by_role("heading", name="Something broke on the server")).to_be_visible()
    assert "Traceback" not in tab.content() and "TypeError" not in tab.content()
    tabs._open[-1][1].complaints.clear()  # the browser logs the statuses
