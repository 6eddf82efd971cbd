"""The page `Repository`, without scripts: what people see and send."""

from __future__ import annotations

import html
import re
from typing import Any

import pytest

from controlplane.git.keys import fingerprint
from fixtures.git_server import Repository, SshGit
from fixtures.web import Browser
from git.rig import FILES, Rig

SECRETS = ("token", "private_key")


class Page:
    """The page in somebody's browser."""

    def __init__(self, rig: Rig, name: str) -> None:
        self._browser: Browser = rig.world.browser(name)
        self._path = f"/projects/{rig.world.project}/repository"

    def text(self) -> str:
        answer = self._browser.get(self._path)
        assert answer.status_code == 200, answer.text
        return html.unescape(answer.text)

    def send(self, part: str = "", **fields: str) -> Any:
        return self._browser.post(self._path + part, data={"csrf": self._browser.csrf, **fields})


def test_a_repository_is_connected_fetched_and_removed(rig: Rig, repository: Repository) -> None:
    commit = repository.commit(FILES)
    repository.tag("v1", commit)
    page = Page(rig, "ann")
    assert "No Git repository yet" in page.text()
    assert page.send(url=rig.address(repository), token="hidden-token").status_code == 303
    assert "Nothing was fetched yet" in page.text() and "hidden-token" not in page.text()
    assert page.send("/fetch").status_code == 303
    rig.fetched()
    shown = page.text()
    assert "1 branches, 1 tags" in shown and commit[:12] in shown and "a token" in shown
    assert page.send("/remove").status_code == 303
    assert "No Git repository yet" in page.text()


def test_a_wrong_address_comes_back_with_its_sentence(rig: Rig) -> None:
    page = Page(rig, "ann")
    answer = page.send(url="file:///etc", token="hidden-token")
    shown = html.unescape(answer.text)
    assert answer.status_code == 400
    assert 'value="file:///etc"' in shown and "vh exec run --adhoc" in shown and "hidden-token" not in shown
    assert 'aria-invalid="true"' in shown


@pytest.mark.needs("sshd")
def test_deploy_key_and_fingerprint_are_shown_and_accepted(rig: Rig, ssh: SshGit, repository: Repository) -> None:
    repository.commit(FILES)
    page = Page(rig, "ann")
    assert page.send(url=ssh.url(repository)).status_code == 303
    key = re.search(r'data-copy="(ssh-ed25519 [^"]+)"', page.text())
    assert key is not None
    ssh.allow(key[1])
    rig.refused()
    assert "Unknown host key" in page.text() and fingerprint(ssh.host_key) in page.text()
    wrong = page.send("/host-key", fingerprint="SHA256:other")
    assert wrong.status_code == 400 and "no key with this fingerprint" in wrong.text
    assert page.send("/host-key", fingerprint=fingerprint(ssh.host_key)).status_code == 303
    rig.fetched()
    assert "Unknown host key" not in page.text()
    assert page.send("/key").status_code == 303
    assert key[1] not in page.text()


def test_who_only_looks_gets_no_forms(rig: Rig) -> None:
    rig.connect("https://git.example/code.git")
    viewer, member = Page(rig, "vic"), Page(rig, "bob")
    assert "https://git.example/code.git" in viewer.text()
    assert ">Fetch</button>" not in viewer.text() and ">Save</button>" not in viewer.text()
    assert ">Fetch</button>" in member.text() and ">Save</button>" not in member.text()
    for part in ("", "/key", "/host-key", "/remove"):
        assert member.send(part, url="https://other.example/x").status_code == 403
    assert viewer.send("/fetch").status_code == 403
    assert rig.world.browser("eve").get(f"/projects/{rig.world.project}/repository").status_code == 404
