"""`remora install` and `remora destroy`, as a platform engineer types them, on an AWS that runs here."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from fixtures.stack import Stack, running_stack
from infra.installer_permissions import INSTALLER_ROWS
from support.cli import Pulumi
from support.cloud import AwsCloud
from support.used import FREE
from test_private_worker import MASTER, groups, register_image
from worker_bootstrap.protocol import names
from worker_bootstrap.startup.boot.queue_files import master_secret, whole_state

pytestmark = [pytest.mark.needs("pulumi", "terraform-aws", "moto"), pytest.mark.timeout(400)]
PATIENCE = 300.0
QUOTA_OF_ADDRESSES = 5
# What an account calls a thing, and Pulumi.
KINDS = {
    "Vpcs": "Vpc",
    "Subnets": "Subnet",
    "InternetGateways": "InternetGateway",
    "VpcEndpoints": "VpcEndpoint",
    "Addresses": "Eip",
    "LaunchTemplates": "LaunchTemplate",
    "AutoScalingGroups": "Group",
    "Buckets": "Bucket",
    "Keys": "Key",
    "Roles": "Role",
    "InstanceProfiles": "InstanceProfile",
    "SecretList": "Secret",
    "Instances": "Instance",
}


class Wizard:
    """The command, with a home of its own."""

    def __init__(self, home: Path, pulumi: Pulumi, cloud: AwsCloud) -> None:
        self.home = home
        endpoints = ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_STS", "AWS_ENDPOINT_URL_SECRETSMANAGER")
        keys = dict.fromkeys(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), "testing")
        inherited = pulumi.variables()
        for name in ("PULUMI_BACKEND_URL", "PULUMI_CONFIG_PASSPHRASE"):
            inherited.pop(name)
        self._environment = {**inherited, **keys, **dict.fromkeys(endpoints, cloud.url), "REMORA_HOME": str(home)}

    def __call__(self, *words: str, code: int = 0) -> list[dict[str, Any]]:
        """The events that it printed."""
        with self.begun(*words, "--json") as process:
            said = list(told(process))
        assert process.wait(10) == code, said[-3:]
        return said

    @contextmanager
    def begun(self, *words: str) -> Iterator[subprocess.Popen[str]]:
        """The command at work, in a process group of its own, which ends with the block."""
        command = [str(Path(sys.executable).with_name("remora")), *words]
        pipe = subprocess.PIPE
        process = subprocess.Popen(
            command, env=self._environment, stdin=pipe, stdout=pipe, text=True, start_new_session=True
        )
        ending = threading.Timer(PATIENCE, os.killpg, (process.pid, signal.SIGKILL))
        ending.start()
        with process:
            try:
                yield process
            except BaseException:
                process.kill()
                raise
        ending.cancel()


def told(process: subprocess.Popen[str]) -> Iterator[dict[str, Any]]:
    """Events, as they come."""
    assert process.stdout is not None
    return (json.loads(line) for line in process.stdout)


def read_until(process: subprocess.Popen[str], words: str) -> str:
    """What is said up to these words."""
    assert process.stdout is not None
    said = ""
    while words not in said:
        letter = process.stdout.read(1)
        assert letter, said[-3000:]
        said += letter
    return said


@pytest.fixture
def wizard(tmp_path: Path, pulumi: Pulumi, aws_cloud: AwsCloud) -> Wizard:
    return Wizard(tmp_path / "home", pulumi, aws_cloud)


def write_answers(folder: Path, cloud: AwsCloud, **settings: Any) -> Path:
    image = register_image(cloud, "image")
    values = {"name": "lab", "region": "eu-west-1", "master": MASTER, "groups": [{"type": "m5.large"}], "image": image}
    file = folder / "answers.yaml"
    answers = {"flavour": "private_worker", "provider": "aws", "private_worker": {**values, **settings}}
    file.write_text(yaml.safe_dump(answers))
    return file


def events(said: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [one for one in said if one["event"] == kind]


def test_install_and_destroy(wizard: Wizard, aws_cloud: AwsCloud, tmp_path: Path) -> None:
    answers = write_answers(tmp_path, aws_cloud)
    before = aws_cloud.contents()
    planned = wizard("install", "--answers", str(answers), "--plan")
    [checks] = events(planned, "checks")
    found = {one["id"]: one["status"] for one in checks["results"]}
    assert {found[name] for name in ("host.pulumi", "host.sdks", "aws.identity", "aws.types", "aws.network")} == {
        "pass"
    }
    assert "fail" not in found.values()
    [plan] = events(planned, "plan")
    assert plan["changes"]["create"] > 60 and "remora-lab-network" in [part["part"] for part in plan["parts"]]
    assert aws_cloud.contents() == before

    assert "add --yes" in wizard("install", "--answers", str(answers), code=3)[-1]["why"]
    assert aws_cloud.contents() == before

    said = wizard("install", "--answers", str(answers), "--yes")
    made = events(said, "resource")
    assert [one["done"] for one in made] == list(range(1, len(made) + 1)) and made[-1]["done"] == made[-1]["total"]
    [stands] = events(said, "stands")
    document = json.loads(Path(stands["document"]).read_text())
    assert document["name"] == "lab" and [group["slug"] for group in document["groups"]] == ["m5-large"]
    assert events(said, "import")[0]["command"] == "remora server import-installation installation.json"

    [group] = groups(aws_cloud)
    name = group["AutoScalingGroupName"]
    aws_cloud.ask("autoscaling", "set_desired_capacity", AutoScalingGroupName=name, DesiredCapacity=1)
    removed = wizard("destroy", "lab", "--yes")
    assert len([one for one in events(removed, "stays")[0]["resources"] if one.startswith("Bucket ")]) == 4
    assert events(removed, "removed")
    assert {thing.partition(" ")[0] for thing in aws_cloud.contents() - before} == {"Buckets", "Keys"}
    used = aws_cloud.calls()
    assert used <= {row.action for row in INSTALLER_ROWS} | FREE.keys()
    assert {row.action for row in INSTALLER_ROWS if row.by == "wizard"} <= used


@pytest.fixture
def at_rest() -> Iterator[Stack]:
    """A control plane on the installer's machine. Its processes have ended: the queue that comes to it is nowhere."""
    with running_stack() as stack:
        stack.stop()
        yield stack


def occupy_addresses(cloud: AwsCloud) -> list[str]:
    """All that the account may have."""
    return [cloud.ask("ec2", "allocate_address", Domain="vpc")["AllocationId"] for _ in range(QUOTA_OF_ADDRESSES)]


def boot_queue(cloud: AwsCloud, document: dict[str, Any]) -> None:
    """What the queue's machine does for the control plane at its first boot."""
    secret = document["queue"]["password"].removeprefix("aws:").partition("#")[0]
    client = {"certificate": "pem", "key": "pem"}
    slugs = [group["slug"] for group in document["groups"]]
    state = whole_state({"ca": "pem", "clients": {names.MASTER_USER: client}}, slugs)
    cloud.ask("secretsmanager", "put_secret_value", SecretId=secret, SecretString=master_secret(state))


@pytest.mark.timeout(900)
@pytest.mark.needs("redis", "engine", "image")
def test_what_stops_it_half_way_is_told_and_the_same_command_goes_on(
    pulumi: Pulumi, aws_cloud: AwsCloud, at_rest: Stack, tmp_path: Path
) -> None:
    wizard = Wizard(at_rest.home, pulumi, aws_cloud)
    command = ["install", "--answers", str(write_answers(tmp_path, aws_cloud)), "--no-proof"]
    before = aws_cloud.contents()

    # Killed as soon as the network is there, while much else is on its way.
    planned: Counter[str] = Counter()
    with wizard.begun(*command, "--yes", "--json") as process:
        for event in told(process):
            if event["event"] == "plan":
                for part in event["parts"]:
                    planned.update(part["resources"])
            if event["event"] == "resource" and event["type"] == "aws:ec2/vpc:Vpc":
                os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL

    # Somebody takes the last addresses between the checks and the work.
    with wizard.begun(*command) as process:
        assert process.stdin is not None and process.stdout is not None
        read_until(process, "Go on?")
        taken = occupy_addresses(aws_cloud)
        process.stdin.write("y\n")
        process.stdin.flush()
        ending = process.stdout.read().partition("Not all of it is done.")[2]
    assert process.returncode == 2
    assert re.search(r"^  Eip remora-lab-queue: .*AddressLimitExceeded", ending, re.MULTILINE), ending
    assert ending.endswith("give the same command again: it goes on from there.\n")
    for address in taken:
        aws_cloud.ask("ec2", "release_address", AllocationId=address)

    with wizard.begun(*command, "--yes", "--json") as process:
        said: list[dict[str, Any]] = []
        for event in told(process):
            said.append(event)
            if event["event"] == "import" and event["state"] == "begun":
                boot_queue(aws_cloud, json.loads(Path(events(said, "stands")[0]["document"]).read_text()))
    assert process.returncode == 0, said[-3:]
    made = Counter(thing.partition(" ")[0] for thing in aws_cloud.contents() - before)
    assert {kind: made[kind] for kind in KINDS} == {kind: planned[name] for kind, name in KINDS.items()}
    # A network has one of its own.
    assert made["SecurityGroups"] == planned["SecurityGroup"] + 1
    changes = {one["part"]: one["kind"] for one in events(said, "import")[-1]["answer"]["changes"]}
    assert changes["group m5-large"] == "added"
    installed = "SELECT g.slug FROM worker_group g JOIN installation i ON i.id = g.installation_id WHERE i.name = 'lab'"
    assert at_rest.query(installed) == [("m5-large",)]


def test_what_fails_a_check_stops_before_anything_is_made(wizard: Wizard, aws_cloud: AwsCloud, tmp_path: Path) -> None:
    answers = write_answers(tmp_path, aws_cloud, groups=[{"type": "m5.huge"}])
    before = aws_cloud.contents()
    said = wizard("install", "--answers", str(answers), "--yes", code=1)
    failed = [one for one in events(said, "checks")[0]["results"] if one["status"] == "fail"]
    assert [one["id"] for one in failed] == ["aws.types"] and "m5.huge" in failed[0]["evidence"] and failed[0]["fix"]
    assert "Nothing was created" in said[-1]["why"]
    assert aws_cloud.contents() == before


def test_what_was_not_installed_from_here_is_not_destroyed(wizard: Wizard) -> None:
    assert (
        "was not installed from here. Installed from here: none." in wizard("destroy", "x", "--yes", code=1)[-1]["why"]
    )
