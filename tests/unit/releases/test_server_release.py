"""What goes into the control plane's file, by the lock."""

from __future__ import annotations

import server_release

LOCK = """\
# made by a tool
async-timeout==5.0.1 ; python_full_version < '3.11.3' \\
    --hash=sha256:aa \\
    --hash=sha256:bb
click==8.5.1 \\
    --hash=sha256:cc
pywin32==312 ; sys_platform == 'win32' \\
    --hash=sha256:dd
"""


def test_what_is_fetched_has_hashes_and_what_is_installed_has_markers() -> None:
    fetched, installed = server_release.wanted(LOCK, 11, "x86_64")
    assert installed == 'async-timeout==5.0.1; python_full_version < "3.11.3"\nclick==8.5.1\n'
    words = fetched.replace("\\\n", " ").split("\n")
    assert [line.split() for line in words if line] == [
        ["async-timeout==5.0.1", "--hash=sha256:aa", "--hash=sha256:bb"],
        ["click==8.5.1", "--hash=sha256:cc"],
    ]
    assert server_release.wanted(LOCK, 12, "aarch64")[1] == "click==8.5.1\n"


def test_the_real_lock_is_understood() -> None:
    for name in server_release.LOCKS:
        found = server_release.locked((server_release.ROOT / name).read_text())
        assert found and all("--hash=sha256:" in block for _, block in found)
