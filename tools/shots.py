"""Take pictures of every page: `python tools/shots.py [--out DIR] [page ...]`.

A dashboard with made-up data is served on a free loopback port; each page is taken at 1440 and 390 px, light and dark.
Says which page is wider than its window and what the browser's console complained about.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from fixtures.dashboard import Dashboard, dashboard  # noqa: E402
from fixtures.dashboard_seed import PASSWORD  # noqa: E402

CHROMIUM = "/usr/bin/chromium"
ARGS = ["--no-sandbox", "--disable-background-networking", "--disable-component-update", "--disable-sync"]
SIZES = ((1440, 900), (390, 844))
THEMES = ("light", "dark")


def pages(shown: Dashboard) -> dict[str, tuple[str, str]]:
    """{name: (user, path)}."""
    ids = shown.ids
    executions = {
        f"execution-{state}": ("mira", f"/executions/{ids[state]}/")
        for state in ("created", "queued", "started", "stopping", "complete", "error", "stopped", "crashed")
    }
    return {
        "login": ("", "/login"),
        "projects": ("mira", "/projects/"),
        "projects-empty": ("empty", "/projects/"),
        "project-new": ("mira", "/projects/new"),
        "executions": ("mira", f"/projects/{ids['project']}/"),
        "executions-none": ("mira", f"/projects/{ids['project']}/?q=nothing-like-this"),
        "executions-empty": ("mira", f"/projects/{ids['project_empty']}/"),
        **executions,
        "execution-stop": ("mira", f"/executions/{ids['started']}/stop"),
        "repository": ("mira", f"/projects/{ids['project']}/repository"),
        "stores": ("mira", f"/projects/{ids['project']}/stores"),
        "registries": ("mira", "/registries/"),
        "login-link": ("", "/login/link"),
        "environments": ("mira", "/environments/"),
        "environment": ("mira", "/environments/gpu-v100/"),
        "not-found": ("mira", "/nothing"),
    }


def log_in(tab: Page, url: str, user: str) -> None:
    """Through the form, as people do."""
    tab.goto(f"{url}/login")
    tab.fill("#username", user)
    tab.fill("#password", PASSWORD)
    tab.click("button[type=submit]")
    tab.wait_for_url("**/projects/")


def take(browser: Browser, shown: Dashboard, wanted: list[str], out: Path, full: bool) -> list[str]:
    """Every picture; returns complaints."""
    complaints: list[str] = []
    named = pages(shown)
    for theme in THEMES:
        for width, height in SIZES:
            for user in ("", "mira", "empty"):
                names = [name for name, (who, _) in named.items() if who == user and (not wanted or name in wanted)]
                if not names:
                    continue
                context = browser.new_context(
                    viewport={"width": width, "height": height}, color_scheme=theme, reduced_motion="reduce"
                )
                tab = context.new_page()
                tab.on("console", lambda m: complaints.append(f"{m.type}: {m.text}") if m.type == "error" else None)
                tab.on("pageerror", lambda error: complaints.append(f"script: {error}"))
                if user:
                    log_in(tab, shown.url, user)
                for name in names:
                    tab.goto(shown.url + named[name][1])
                    tab.evaluate("document.fonts.ready")
                    tab.wait_for_timeout(500 if "execution-" in name else 50)
                    wide = tab.evaluate("document.documentElement.scrollWidth - innerWidth")
                    if wide > 0:
                        complaints.append(f"{name} {width}: {wide} px wider than the window")
                    tab.screenshot(path=out / f"{name}-{width}-{theme}.png", full_page=full)
                context.close()
    return complaints


def main() -> None:
    """Parse the arguments and take the pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pages", nargs="*")
    parser.add_argument("--out", type=Path, default=ROOT / "shots")
    parser.add_argument("--full", action="store_true", help="whole page, not only the window")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as home, dashboard(Path(home)) as shown, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGS)
        for complaint in take(browser, shown, options.pages, options.out, options.full):
            sys.stderr.write(f"{complaint}\n")
        browser.close()


if __name__ == "__main__":
    main()
