"""Pulumi's CLI and the SDK of AWS on the logic of Terraform's provider, against moto: what other tests build on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from support.cli import Project, Pulumi
from support.cloud import AwsCloud
from support.events import Run

pytestmark = [pytest.mark.needs("pulumi", "terraform-aws", "moto"), pytest.mark.timeout(600)]

SMOKE = Path(__file__).with_name("programs") / "smoke"
TOKEN = "planted-" + "secret-of-this-test"
ONE_NETWORK = """
import pulumi, pulumi_aws as aws

config = pulumi.Config()
network = aws.ec2.Vpc("network", cidr_block=config.require("cidr"), tags={"owner": "platform"})
pulumi.export("network", network.id)
"""


def done(run: Run) -> Run:
    """A run that ended well; its time is shown by `pytest -s`."""
    assert run.ok, run.output[-5000:]
    print(f"{run.seconds:5.1f} s  {run.counts}")
    return run


def unchanged(run: Run) -> None:
    assert done(run).changes == [], run.output[-5000:]


@pytest.mark.never_real(
    "Pulumi's own plugin for AWS, and AWS itself under a stack",
    "the CLI and the SDK run on the Terraform provider that the plugin wraps, against moto",
)
def test_an_installation_comes_up_changes_and_goes(pulumi: Pulumi, aws_cloud: AwsCloud) -> None:
    before = aws_cloud.contents()
    project = pulumi.project(SMOKE, aws__region="eu-west-1")
    project.set("token", TOKEN, secret=True)
    assert done(project.preview()).counts == {"create": 14}
    assert aws_cloud.contents() == before
    done(project.up())
    unchanged(project.preview())
    assert f"Buckets {project.outputs()['store']}" in aws_cloud.contents()

    _no_secret_is_in_the_state(project)
    _machines_are_nobody_else_s(project, aws_cloud)
    _a_change_says_what_differs(project, aws_cloud)

    done(project.destroy())
    assert aws_cloud.contents() == before


def _no_secret_is_in_the_state(project: Project) -> None:
    assert TOKEN not in json.dumps(project.export())
    assert TOKEN in json.dumps(project.export("--show-secrets"))
    assert project.outputs()["token"] == TOKEN
    assert TOKEN not in project.run("stack", "output", "--json", "--stack", project.stack)


def _machines_are_nobody_else_s(project: Project, cloud: AwsCloud) -> None:
    """The control plane decides how many machines there are, and no `up` takes it back."""
    group = project.outputs()["group"]
    assert [found["DesiredCapacity"] for found in _groups(cloud)] == [0]
    cloud.ask("autoscaling", "set_desired_capacity", AutoScalingGroupName=group, DesiredCapacity=2)
    unchanged(project.preview())
    assert done(project.refresh()).step("Group", "workers").op == "same"
    unchanged(project.up())
    assert [len(found["Instances"]) for found in _groups(cloud)] == [2]


def _groups(cloud: AwsCloud) -> list[dict[str, Any]]:
    return cloud.ask("autoscaling", "describe_auto_scaling_groups")["AutoScalingGroups"]


def _a_change_says_what_differs(project: Project, cloud: AwsCloud) -> None:
    project.set("instanceType", "t3.large")
    run = done(project.up())
    assert [step.type.rpartition(":")[2] for step in run.changes] == ["LaunchTemplate"]
    assert "instanceType" in run.step("LaunchTemplate", "workers").differs
    versions = cloud.ask("ec2", "describe_launch_template_versions", Versions=["$Latest"])["LaunchTemplateVersions"]
    assert [version["LaunchTemplateData"]["InstanceType"] for version in versions] == ["t3.large"]


def test_what_can_not_be_changed_is_replaced(pulumi: Pulumi, aws_cloud: AwsCloud) -> None:
    project = pulumi.program(ONE_NETWORK, aws__region="eu-west-1", cidr="10.1.0.0/16")
    done(project.up())
    first = project.outputs()["network"]
    project.set("cidr", "10.2.0.0/16")
    assert "cidrBlock" in done(project.preview()).step("Vpc", "network").replaces
    done(project.up())
    assert project.outputs()["network"] != first
    assert f"Vpcs {first}" not in aws_cloud.contents()


def test_what_somebody_changed_by_hand_is_seen_and_put_right(pulumi: Pulumi, aws_cloud: AwsCloud) -> None:
    project = pulumi.program(ONE_NETWORK, aws__region="eu-west-1", cidr="10.1.0.0/16")
    done(project.up())
    network = project.outputs()["network"]
    tag = {"Key": "owner", "Value": "nobody"}
    aws_cloud.ask("ec2", "create_tags", Resources=[network], Tags=[tag])
    assert project.refresh("--expect-no-changes").code != 0
    assert "tags" in done(project.preview()).step("Vpc", "network").differs
    done(project.up())
    unchanged(project.refresh())
    found = aws_cloud.ask("ec2", "describe_vpcs", VpcIds=[network])["Vpcs"]
    assert {"Key": "owner", "Value": "platform"} in found[0]["Tags"]

    aws_cloud.ask("ec2", "delete_vpc", VpcId=network)
    assert done(project.refresh()).step("Vpc", "network").op == "delete"
    assert done(project.preview()).step("Vpc", "network").op == "create"
