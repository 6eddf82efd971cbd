"""Pulumi's CLI, an AWS on this machine, and the provider between them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from fixtures.store_servers import scratch
from plugin.infra_parts import find_terraform_aws
from support.attached import attached_aws
from support.cli import Pulumi
from support.cloud import AwsCloud
from support.cloud import aws_cloud as running_cloud


@pytest.fixture(scope="session")
def aws_server() -> Iterator[AwsCloud]:
    """One moto a session; tests ask for `aws_cloud`."""
    with scratch("moto") as folder, running_cloud(folder) as cloud:
        yield cloud


@pytest.fixture
def aws_cloud(aws_server: AwsCloud) -> AwsCloud:
    """An empty account."""
    aws_server.reset()
    return aws_server


@pytest.fixture(scope="session")
def attached(aws_server: AwsCloud) -> Iterator[str]:
    """The Terraform provider for AWS behind Pulumi's protocol: what PULUMI_DEBUG_PROVIDERS wants to hear of it."""
    with scratch("provider") as folder, attached_aws(find_terraform_aws(), aws_server.url, folder) as provider:
        yield provider


@pytest.fixture
def pulumi(tmp_path: Path, attached: str) -> Pulumi:
    """The CLI with a backend and a home of its own, and the attached provider."""
    return Pulumi(tmp_path / "pulumi", (attached,))
