"""A private worker in AWS by the real CLI: what `pulumi up` makes, keeps, changes, removes, and never touches."""

from __future__ import annotations

import base64
import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from infra.installation import InstallationDocument
from infra.installer_permissions import INSTALLER_ROWS
from infra.policies.resource import of_state
from infra.policies.rules import violations
from infra.policies.stack_rules import stack_violations
from support.cli import Project, Pulumi
from support.cloud import AwsCloud
from support.events import Run
from support.used import differences
from worker_bootstrap.protocol import names
from worker_bootstrap.startup.boot.queue_files import master_secret, whole_state

pytestmark = [pytest.mark.needs("pulumi", "terraform-aws", "moto"), pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[2]
MASTER = {
    "dashboard": "https://remora.example.com",
    "addresses": ["203.0.113.7/32"],
    "release_keys": [base64.b64encode(bytes(32)).decode()],
    "principal": "arn:aws:iam::444455556666:role/remora-master",
    "external_id": "planted-external-id-0123456789",
}
# What the policy of whoever installs has for calls that the long test doesn't make.
WITH_NAT = "only with egress: nat"
CHANGED = "only when its key of the configuration is changed later"
TAGS = "only when tags are changed later"
NEWER = "only by the provider of pulumi-aws 7, which is newer than the attached one"
UNSEEN = {
    "autoscaling:DeleteTags": TAGS,
    "ec2:CreateNatGateway": WITH_NAT,
    "ec2:CreateTags": TAGS,
    "ec2:DeleteNatGateway": WITH_NAT,
    "ec2:DeleteTags": TAGS,
    "ec2:DescribeNatGateways": WITH_NAT,
    "iam:TagInstanceProfile": TAGS,
    "iam:TagRole": TAGS,
    "iam:UntagInstanceProfile": TAGS,
    "iam:UntagRole": TAGS,
    "iam:UpdateAssumeRolePolicy": CHANGED,
    "kms:TagResource": TAGS,
    "kms:UntagResource": TAGS,
    "s3:ListTagsForResource": NEWER,
    "s3:TagResource": NEWER,
    "s3:UntagResource": NEWER,
    "secretsmanager:TagResource": TAGS,
    "secretsmanager:UntagResource": TAGS,
    "secretsmanager:UpdateSecret": CHANGED,
    "ssm:AddTagsToResource": TAGS,
    "ssm:RemoveTagsFromResource": TAGS,
}
# No image that people use has it: nothing but the image can have said it.
ROOT_DEVICE = "/dev/xvde"
GROUPS = [{"type": "m5.large", "max": 3}, {"type": "g4dn.xlarge", "max": 2, "market": "spot"}]


def done(run: Run) -> Run:
    assert run.ok, "\n".join(run.errors) or run.output[-6000:]
    print(f"{run.seconds:5.1f} s  {run.counts}")
    return run


def register_image(cloud: AwsCloud, name: str) -> str:
    about = {"Name": name, "Architecture": "x86_64", "RootDeviceName": ROOT_DEVICE}
    return cloud.ask("ec2", "register_image", **about)["ImageId"]


def private_worker(pulumi: Pulumi, cloud: AwsCloud, stack: str = "lab", **settings: Any) -> Project:
    project = pulumi.project(ROOT, "stacks", "Pulumi.yaml", stack=stack)
    image = register_image(cloud, f"image-{stack}")
    values = {"name": stack, "region": "eu-west-1", "master": MASTER, "groups": GROUPS, "image": image, **settings}
    project.set("remora:flavour", "private_worker")
    project.set("remora:provider", "aws")
    project.set("remora:private_worker", json.dumps(values))
    return project


def groups(cloud: AwsCloud) -> list[dict[str, Any]]:
    return cloud.ask("autoscaling", "describe_auto_scaling_groups")["AutoScalingGroups"]


def empty(cloud: AwsCloud, name: str) -> None:
    """As whoever removes an installation: machines are no longer protected, and go."""
    [group] = [group for group in groups(cloud) if group["AutoScalingGroupName"] == name]
    ids = [machine["InstanceId"] for machine in group["Instances"]]
    protection = {"AutoScalingGroupName": name, "InstanceIds": ids, "ProtectedFromScaleIn": False}
    cloud.ask("autoscaling", "set_instance_protection", **protection)
    cloud.ask("autoscaling", "update_auto_scaling_group", AutoScalingGroupName=name, DesiredCapacity=0)


def asked(project: Project) -> dict[str, Any]:
    return json.loads(project.run("config", "get", "--stack", project.stack, "remora:private_worker"))


def no_value_is_given(cloud: AwsCloud) -> None:
    """Secrets are places: the queue's machine fills them, not Pulumi."""
    secrets = cloud.ask("secretsmanager", "list_secrets")["SecretList"]
    assert len(secrets) == 4
    for secret in secrets:
        assert not cloud.ask("secretsmanager", "describe_secret", SecretId=secret["ARN"]).get("VersionIdsToStages")


def fields_of(document: InstallationDocument) -> set[str]:
    """Fields of the control plane's secret that the document refers to."""
    queue = document.queue
    references = [queue.password, queue.ca, queue.certificate, queue.key, *(one.join_secret for one in document.groups)]
    return {reference.partition("#")[2] for reference in references}


def written_fields(slugs: list[str]) -> set[str]:
    """Fields that the queue's machine puts into that secret."""
    client = {"certificate": "pem", "key": "pem"}
    state = whole_state({"ca": "pem", "clients": {names.MASTER_USER: client}}, slugs)
    return set(json.loads(master_secret(state)))


def scripts_are_plain(cloud: AwsCloud) -> None:
    """Start-up scripts name their group and where secrets are, and fit into what AWS takes."""
    versions = cloud.ask("ec2", "describe_launch_template_versions", Versions=["$Latest"])["LaunchTemplateVersions"]
    packed = [base64.b64decode(version["LaunchTemplateData"]["UserData"]) for version in versions]
    assert all(len(one) <= 16_384 for one in packed)
    # The size is that of the machine's own disk, whatever its image calls it.
    disks = [version["LaunchTemplateData"]["BlockDeviceMappings"] for version in versions]
    assert [[disk["DeviceName"] for disk in one] for one in disks] == [[ROOT_DEVICE]] * len(disks)
    scripts = [gzip.decompress(one).decode() for one in packed]
    assert all(script.startswith("#!/bin/sh") for script in scripts)
    slugs = ("m5-large", "g4dn-xlarge-spot")
    assert {slug for slug in slugs for script in scripts if f"group {slug}" in script} == set(slugs)


def a_group_is_added(project: Project, cloud: AwsCloud, before: list[dict[str, Any]]) -> None:
    """Beside the others; the queue's machine stays, and learns of it by itself."""
    project.set("remora:private_worker", json.dumps({**asked(project), "groups": [*before, {"type": "c5.large"}]}))
    changes = [change for change in done(project.up()).changes if change.type.startswith("aws:")]
    assert sorted((change.op, change.type.rpartition(":")[2], change.name) for change in changes) == [
        ("create", "Group", "remora-lab-c5-large"),
        ("create", "LaunchTemplate", "remora-lab-c5-large"),
        ("create", "Secret", "remora-lab-join-c5-large"),
        ("update", "Parameter", "remora-lab-groups"),
        ("update", "RolePolicy", "remora-lab-queue"),
        ("update", "RolePolicy", "remora-lab-worker"),
    ]
    [parameter] = cloud.ask("ssm", "describe_parameters")["Parameters"]
    listed = json.loads(cloud.ask("ssm", "get_parameter", Name=parameter["Name"])["Parameter"]["Value"])
    assert listed.keys() == {"m5-large", "g4dn-xlarge-spot", "c5-large"}
    assert set(listed.values()) < {
        secret["Name"] for secret in cloud.ask("secretsmanager", "list_secrets")["SecretList"]
    }


@pytest.mark.security("I02", "I03", "I10")
def test_it_comes_up_keeps_the_rules_stays_and_goes(pulumi: Pulumi, aws_cloud: AwsCloud) -> None:
    project = private_worker(pulumi, aws_cloud)
    before = aws_cloud.contents()
    planned = done(project.preview())
    assert aws_cloud.contents() == before
    made = done(project.up())
    assert made.counts["create"] == planned.counts["create"]
    assert done(project.preview()).changes == []

    document = InstallationDocument.model_validate(project.outputs()["installation"])
    assert [group.slug for group in document.groups] == ["m5-large", "g4dn-xlarge-spot"]
    assert document.groups[1].gpu_spec and document.access is not None
    assert fields_of(document) <= written_fields([group.slug for group in document.groups])
    state = project.export()
    assert violations(of_state(state)) == stack_violations(of_state(state)) == []
    assert Counter(row["type"] for row in state["deployment"]["resources"])["aws:s3/bucket:Bucket"] == 4

    no_value_is_given(aws_cloud)
    scripts_are_plain(aws_cloud)

    # What the control plane did is not undone, whatever is asked of Pulumi.
    name = document.groups[0].settings["group"]
    aws_cloud.ask("autoscaling", "set_desired_capacity", AutoScalingGroupName=name, DesiredCapacity=2)
    assert done(project.preview()).changes == []
    done(project.refresh())
    assert done(project.up()).changes == []
    assert sorted(len(group["Instances"]) for group in groups(aws_cloud)) == [0, 2]

    # A change touches its group alone.
    raised = [{**GROUPS[0], "max": 9, "disk_gb": 150}, GROUPS[1]]
    project.set("remora:private_worker", json.dumps({**asked(project), "groups": raised}))
    changes = [change for change in done(project.up()).changes if change.type.startswith("aws:")]
    assert sorted((change.op, change.type.rpartition(":")[2], change.name) for change in changes) == [
        ("update", "Group", "remora-lab-m5-large"),
        ("update", "LaunchTemplate", "remora-lab-m5-large"),
    ]
    assert {group["MaxSize"] for group in groups(aws_cloud)} == {9, 2}
    assert sorted(len(group["Instances"]) for group in groups(aws_cloud)) == [0, 2]

    a_group_is_added(project, aws_cloud, raised)

    empty(aws_cloud, name)
    done(project.destroy("--exclude-protected"))
    left = {thing.partition(" ")[0] for thing in aws_cloud.contents() - before}
    assert left == {"Buckets", "Keys"}
    assert {row["type"] for row in project.export()["deployment"]["resources"] if row.get("protect")} >= {
        "aws:s3/bucket:Bucket",
        "aws:kms/key:Key",
        "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock",
    }
    by_stacks = [row for row in INSTALLER_ROWS if row.by == "stacks"]
    found = differences(aws_cloud.calls(), by_stacks, UNSEEN)
    assert not found, "\n".join(found)


@pytest.mark.security("I07")
@pytest.mark.slow
def test_two_installations_stand_beside_each_other(pulumi: Pulumi, aws_cloud: AwsCloud) -> None:
    first = private_worker(pulumi, aws_cloud, "lab")
    second = private_worker(pulumi, aws_cloud, "other", groups=GROUPS[:1])
    done(first.up())
    done(second.up())
    assert done(first.preview()).changes == []
    assert len(groups(aws_cloud)) == 3


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"groups": [{"type": "m5.huge"}]}, "groups[0].type: m5.huge is not offered in eu-west-1"),
        ({"queue_type": "x9.small"}, "queue_type: x9.small is not offered in eu-west-1"),
        ({"image": "ami-00000000000000000"}, "image: ami-00000000000000000 (x86_64) is not in eu-west-1"),
        ({"region": "nowhere"}, "private_worker.region:"),
        ({"name": "a-name-that-is-far-too-long"}, "private_worker.name:"),
    ],
)
def test_what_the_account_refuses_is_said_before_anything_is_made(
    settings: dict[str, Any], said: str, pulumi: Pulumi, aws_cloud: AwsCloud
) -> None:
    project = private_worker(pulumi, aws_cloud, **settings)
    before = aws_cloud.contents()
    refused = project.up()
    assert not refused.ok and said in refused.output
    assert aws_cloud.contents() == before
