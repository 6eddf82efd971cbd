"""All of Remora on one machine over ssh, by the real CLI: up, log in, work, up again, destroy.

The tests of this file follow one another on the same machine, as a platform engineer's days do.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from fixtures.client import Vh
from fixtures.stack import wait_until
from fixtures.work import IMAGE
from infra.installation import InstallationDocument
from onprem.alone import SETTINGS, STATE, Alone
from onprem.lab import left
from support.events import Run

pytestmark = [
    pytest.mark.needs("pulumi", "root", "debootstrap", "engine", "image", "redis", "versitygw", "sshd"),
    pytest.mark.timeout(600),
]
YAML = f"""
- step:
    name: train
    image: {IMAGE}
    command: echo made >/valohai/outputs/made.txt
"""


def done(run: Run) -> Run:
    assert run.ok, run.output[-6000:]
    print(f"{run.seconds:5.1f} s  {run.counts}")
    return run


def test_up_log_in_and_work(alone: Alone, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    planned = done(alone.project.preview())
    assert left(alone.host) == ""
    made = done(alone.project.up())
    assert made.counts["create"] == planned.counts["create"]
    assert {step.name for step in made.changes} >= {"queue", "store", "master", alone.host.address}
    document = InstallationDocument.model_validate(alone.project.outputs()["installation"])
    assert (document.flavour, document.queue.password) == (
        "self_hosted",
        f"file:{SETTINGS}/installation/queue-password",
    )
    wait_until(lambda: alone.worker().get("state") == "active", 90, "the worker")

    link = alone.server("login-link").strip()
    assert link.startswith(f"{alone.url}/login/link#")
    with alone.http(Origin=alone.url) as browser:
        ticket = urlsplit(link).fragment
        answer = browser.post("/login/link", data={"ticket": ticket})
        assert (answer.status_code, answer.headers["location"]) == (303, "/")
        shown = browser.get("/", follow_redirects=True)
        assert shown.status_code == 200 and "Log out" in shown.text
        assert browser.post("/login/link", data={"ticket": ticket}).status_code == 400

    authority = tmp_path / "ca.pem"
    authority.write_text(alone.host("cat", f"{SETTINGS}/installation/ca.pem"))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(authority))
    vh = Vh(tmp_path / "config", tmp_path / "code")
    (vh.folder / "valohai.yaml").write_text(YAML)
    vh("login", "--host", alone.url, "--token", alone.access()["token"])
    vh("project", "create", "--name", "first", "--link")
    vh("exec", "run", "--adhoc", "train", timeout=120)
    ran = execution(alone)
    assert ran["status"] == "complete", ran
    assert [one["name"] for one in ran["outputs"]] == ["made.txt"]
    kept = alone.host("find", "/var/lib/remora-store/buckets", "-name", "made.txt").split()
    assert len(kept) == 1


def execution(alone: Alone) -> dict[str, Any]:
    """The first one, once it has ended."""
    with alone.api() as api:
        (project,) = api.get("/api/v0/projects/").json()["results"]

        def look() -> dict[str, Any] | None:
            (row,) = api.get("/api/v0/executions/", params={"project": project["id"]}).json()["results"]
            shown = api.get(f"/api/v0/executions/{row['id']}/").json()
            return shown if shown["status"] in ("complete", "error", "crashed", "stopped") else None

        return wait_until(look, 120, "the end of the execution")


def test_its_user_owns_little_and_its_secrets_are_nobody_elses(alone: Alone) -> None:
    host = alone.host
    files = [f"{SETTINGS}/environment", f"{SETTINGS}/server.key", f"{SETTINGS}/installation/queue-password", STATE]
    assert host("stat", "-c", "%a %U", *files).split("\n")[:4] == [
        "600 root", "600 remora-server", "600 remora-server", "700 remora-server",
    ]  # fmt: skip
    pid = host("systemctl", "show", "--property=MainPID", "--value", "remora-server").strip()
    status = dict(line.split(":\t", 1) for line in host("cat", f"/proc/{pid}/status").splitlines() if ":\t" in line)
    # CAP_NET_BIND_SERVICE is the tenth: port 443.
    assert (int(status["CapBnd"], 16), int(status["CapEff"], 16), status["NoNewPrivs"]) == (1 << 10, 1 << 10, "1")
    assert status["Uid"].split()[0] != "0"
    state = json.dumps(alone.project.export("--show-secrets"))
    secrets = [host("cat", f"{SETTINGS}/installation/{name}") for name in ("queue-password", "group-machines")]
    secrets += [host("cat", f"{SETTINGS}/installation/store-credentials").split()[1]]
    secrets += [host("cat", f"{SETTINGS}/{name}").split("\n")[1] for name in ("server.key", "own.key")]
    secrets += [alone.access()["token"], alone.access()["password"]]
    assert all(len(one) > 15 for one in secrets)
    assert [one for one in secrets if one in state] == []
    assert "PRIVATE KEY" not in state
    log = host("sh", "-c", f"cat {STATE}/log/*.log; journalctl --no-pager --unit=remora-server")
    assert log and [one for one in secrets if one in log] == []


def test_a_second_up_changes_nothing(alone: Alone) -> None:
    assert done(alone.project.up()).changes == []


def test_destroy_leaves_nothing_but_data(alone: Alone) -> None:
    done(alone.project.destroy())
    assert left(alone.host) == ""
    assert alone.host("ls", f"{STATE}/remora.db", "/var/lib/remora-store/buckets")
