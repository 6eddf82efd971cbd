"""A machine of the control plane starts by its user data, unchanged; what keeps it from serving it says, and goes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from fixtures.aws_cloud import BUCKET, REGION, AwsCloud, aws_cloud
from fixtures.cloud_host import CloudHost, make_cloud_image
from startup.machines import MANIFEST, PAUSES, manifest, wait_for
from worker_bootstrap.host.places import architecture
from worker_bootstrap.protocol import crypto
from worker_bootstrap.release import NAME
from worker_bootstrap.startup.rendering import user_data
from worker_bootstrap.startup.settings import AwsPlace, MasterStartup

pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.slow,
    pytest.mark.needs("root", "debootstrap", "engine", "moto"),
    pytest.mark.never_real(
        "Start-up of the control plane's machines in AWS: cloud-init, instance metadata, roles, RDS",
        "user data boots systemd hosts; a small IMDSv2; moto checks signatures and policies",
    ),
]
PASSWORD = "planted/of this test only"
DEADLINE = 20.0
# What is wrong, and what the machine says of it.
FAILING = {
    "login": "Release of the control plane: The release 0.1.0 has no file for the control plane (",
    "empty": "Database: The secret {secret} holds no user and password: AWS writes it with the database.",
}


@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[AwsCloud, crypto.SigningKey]]:
    """A release of the agent alone, and a database's login."""
    make_cloud_image()
    key, content = crypto.SigningKey.generate(), b"an agent's file"
    with aws_cloud(tmp_path_factory.mktemp("aws"), list(FAILING)) as aws:
        aws.put(f"{MANIFEST.rpartition('/')[0]}/{NAME}-{architecture()}.pex", content)
        aws.put(MANIFEST, manifest(key, content))
        aws.set_secret("login", json.dumps({"username": "remora", "password": PASSWORD}))
        yield aws, key


def told(account: tuple[AwsCloud, crypto.SigningKey]) -> MasterStartup:
    """What such a machine is told. Its way to the database leads somewhere that answers."""
    aws, key = account
    return MasterStartup(
        installation="acme",
        place=AwsPlace(REGION, aws.endpoints),
        domain="remora.acme.test",
        port=8765,
        document=json.dumps({"name": "acme"}),
        database_host="127.0.0.1",
        database_port=aws.port,
        database_name="remora",
        database_secret=aws.arns["login"],
        releases_bucket=BUCKET,
        release_manifest=MANIFEST,
        release_keys=(crypto.b64(key.public),),
        ready_deadline=DEADLINE,
        pauses=PAUSES,
    )


@pytest.fixture(scope="module")
def failed(account: tuple[AwsCloud, crypto.SigningKey]) -> Iterator[dict[str, CloudHost]]:
    """All of them at once: each waits for its own end."""
    hosts: list[CloudHost] = []

    def boot(secret: str) -> CloudHost:
        aws = account[0]
        host = CloudHost("master", aws.roles["worker"], [aws.port])
        hosts.append(host)
        host.boot(user_data(replace(told(account), database_secret=aws.arns[secret])))
        return host

    try:
        with ThreadPoolExecutor() as together:
            yield dict(zip(FAILING, together.map(boot, FAILING), strict=True))
    finally:
        for host in hosts:
            host.close()


@pytest.mark.parametrize("name", FAILING)
def test_a_machine_that_can_not_serve_says_why_and_powers_off(
    account: tuple[AwsCloud, crypto.SigningKey], failed: dict[str, CloudHost], name: str
) -> None:
    host = failed[name]
    wait_for(host, host.is_off, "its end")
    said = host.console()
    why = FAILING[name].format(secret=account[0].arns[name])
    assert why in said, said[-3000:]
    last = said.index(f"This machine does not serve the dashboard within {DEADLINE:g} s and powers off.")
    assert why in said[last:], "the last words name the reason"
    assert PASSWORD not in said and PASSWORD not in user_data(told(account))
