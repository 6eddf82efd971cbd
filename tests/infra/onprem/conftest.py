"""One laboratory for the tests of machines that exist already."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from fixtures.ssh_hosts import SshNet, make_image
from fixtures.stack import running_stack
from onprem.alone import Alone, standing_alone
from onprem.lab import Lab, machines


@pytest.fixture(scope="session")
def net(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshNet]:
    make_image()
    net = SshNet(tmp_path_factory.mktemp("ssh"))
    try:
        machines(net)
        yield net
    finally:
        net.close()


@pytest.fixture(scope="session")
def lab(net: SshNet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    folder: Path = tmp_path_factory.mktemp("lab")
    with running_stack(quick=False) as stack:
        yield Lab(folder, stack, net)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Alone]:
    with standing_alone(tmp_path_factory.mktemp("alone")) as made:
        yield made
