"""`remora install` and `remora destroy`, as a platform engineer types them, on an AWS that runs here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from support.cli import Pulumi
from support.cloud import AwsCloud
from test_private_worker import MASTER, groups

pytestmark = [pytest.mark.needs("pulumi", "terraform-aws", "moto"), pytest.mark.timeout(400)]


class Wizard:
    """The command, with a home of its own."""

    def __init__(self, home: Path, pulumi: Pulumi, cloud: AwsCloud) -> None:
        self.home = home
        keys = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_ENDPOINT_URL": cloud.url}
        inherited = pulumi.variables()
        for name in ("PULUMI_BACKEND_URL", "PULUMI_CONFIG_PASSPHRASE"):
            inherited.pop(name)
        self._environment = {**inherited, **keys, "REMORA_HOME": str(home)}

    def __call__(self, *words: str, code: int = 0) -> list[dict[str, Any]]:
        """The events that it printed."""
        command = [str(Path(sys.executable).with_name("remora")), *words, "--json"]
        done = subprocess.run(command, env=self._environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == code, f"{done.stdout[-3000:]}{done.stderr[-3000:]}"
        return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture
def wizard(tmp_path: Path, pulumi: Pulumi, aws_cloud: AwsCloud) -> Wizard:
    return Wizard(tmp_path / "home", pulumi, aws_cloud)


def write_answers(folder: Path, cloud: AwsCloud, **settings: Any) -> Path:
    image = cloud.ask("ec2", "register_image", Name=f"image-{os.urandom(4).hex()}", Architecture="x86_64")["ImageId"]
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
