"""What the attached provider refuses, what it adopts, and what stands after a failure half-way."""

from __future__ import annotations

import json
from typing import Any

import grpc
import pytest
from pulumi.runtime.proto import provider_pb2, provider_pb2_grpc

from support.cli import Pulumi
from support.cloud import AwsCloud
from support.events import Run
from support.wire import to_struct

pytestmark = [pytest.mark.needs("pulumi", "terraform-aws", "moto"), pytest.mark.timeout(600)]


def told(run: Run, name: str) -> str:
    """The errors about the resource with this name, in a run that ended badly."""
    assert not run.ok, run.output[-3000:]
    about = [d for d in run.diagnostics if d.severity == "error" and d.urn.endswith(f"::{name}")]
    return "\n".join(found.message for found in about)


MISTAKES = [
    ("ec2/vpc:Vpc", {"cidrBlock": "10.0.0.0/99"}, "cidrBlock", "CIDR"),
    (
        "ec2/securityGroup:SecurityGroup",
        {"ingress": [{"cidrBloks": ["10.0.0.0/8"]}]},
        "ingress[0].cidrBloks",
        "no such",
    ),
    ("ec2/launchTemplate:LaunchTemplate", {"metadataOptions": {"httpTokens": "often"}}, "metadataOptions", "required"),
    ("ec2/launchTemplate:LaunchTemplate", {"region": "us-east-1"}, "region", "no such property"),
    ("ec2/launchTemplate:LaunchTemplate", {"name": "a", "namePrefix": "b"}, "namePrefix", "conflicts with"),
    ("iam/role:Role", {"assumeRolePolicy": "{not json"}, "assumeRolePolicy", "invalid JSON"),
    ("kms/key:Key", {"deletionWindowInDays": "a week"}, "deletionWindowInDays", "expected number"),
    ("kms/key:Key", {"tags": "a tag"}, "tags", "expected map"),
]


@pytest.mark.parametrize(("token", "inputs", "place", "words"), MISTAKES)
def test_a_mistake_is_refused_with_the_property_that_it_is_in(
    attached: str, token: str, inputs: dict[str, Any], place: str, words: str
) -> None:
    """Without the CLI: only the provider is asked, as the engine would ask it."""
    with grpc.insecure_channel(f"127.0.0.1:{attached.partition(':')[2]}") as channel:
        provider = provider_pb2_grpc.ResourceProviderStub(channel)
        provider.Configure(provider_pb2.ConfigureRequest(args=to_struct({"region": "eu-west-1"})))
        urn = f"urn:pulumi:test::program::aws:{token}::mistaken"
        request = provider_pb2.CheckRequest(urn=urn, news=to_struct(inputs), randomSeed=bytes(8))
        failures = provider.Check(request).failures
    assert place in [failure.property for failure in failures if words in failure.reason], failures


MISTAKE = """
import pulumi_aws as aws
aws.ec2.Vpc("range", cidr_block="10.0.0.0/99")
"""


def test_a_refusal_reaches_the_person_and_nothing_is_made(pulumi: Pulumi, aws_cloud: AwsCloud) -> None:
    before = aws_cloud.contents()
    run = pulumi.program(MISTAKE, aws__region="eu-west-1").up()
    assert "property cidrBlock value {10.0.0.0/99} has a problem" in told(run, "range")
    assert aws_cloud.contents() == before


EXISTING = """
import pulumi, pulumi_aws as aws
config = pulumi.Config()
network = aws.ec2.Vpc.get("theirs", config.require("network"))
looked_up = aws.ec2.get_subnet(id=config.require("subnet"))
aws.ec2.Subnet("ours", vpc_id=network.id, cidr_block="10.9.2.0/24")
aws.ec2.Subnet("adopted", vpc_id=network.id, cidr_block="10.9.1.0/24", tags={"owner": "network team"},
               opts=pulumi.ResourceOptions(import_=config.require("subnet"), retain_on_delete=True))
pulumi.export("cidr", network.cidr_block)
pulumi.export("found", looked_up.cidr_block)
"""


def test_what_is_there_already_is_read_or_adopted_and_stays(pulumi: Pulumi, aws_cloud: AwsCloud) -> None:
    network = aws_cloud.ask("ec2", "create_vpc", CidrBlock="10.9.0.0/16")["Vpc"]["VpcId"]
    tags = [{"ResourceType": "subnet", "Tags": [{"Key": "owner", "Value": "network team"}]}]
    answer = aws_cloud.ask("ec2", "create_subnet", VpcId=network, CidrBlock="10.9.1.0/24", TagSpecifications=tags)
    subnet = answer["Subnet"]["SubnetId"]
    before = aws_cloud.contents()

    project = pulumi.program(EXISTING, aws__region="eu-west-1", network=network, subnet=subnet)
    run = project.up()
    assert run.ok, run.output
    assert project.outputs() == {"cidr": "10.9.0.0/16", "found": "10.9.1.0/24"}
    assert (run.step("Subnet", "adopted").op, run.step("Subnet", "ours").op) == ("import", "create")
    again = project.preview()
    assert again.ok and again.changes == [], again.output
    assert project.destroy().ok
    assert aws_cloud.contents() == before


def test_what_is_not_there_can_not_be_read(pulumi: Pulumi, aws_cloud: AwsCloud) -> None:
    project = pulumi.program(EXISTING, aws__region="eu-west-1", network="vpc-0123456789abcdef0", subnet="subnet-1")
    run = project.preview()
    assert not run.ok
    assert "vpc-0123456789abcdef0" in run.output


REGIONS = """
import pulumi, pulumi_aws as aws
there = pulumi.ResourceOptions(provider=aws.Provider("there", region="us-east-1", default_tags={"tags": {"by": "us"}}))
here = aws.ec2.Vpc("here", cidr_block="10.1.0.0/16")
other = aws.ec2.Vpc("other", cidr_block="10.2.0.0/16", opts=there)
pulumi.export("here", here.arn)
pulumi.export("other", other.arn)
pulumi.export("regions", [aws.get_region().region, other.region])
pulumi.export("tags", other.tags_all)
"""


def test_each_provider_of_a_program_keeps_its_own_configuration(pulumi: Pulumi, aws_cloud: AwsCloud) -> None:
    project = pulumi.program(REGIONS, aws__region="eu-west-1")
    run = project.up()
    assert run.ok, run.output
    outputs = project.outputs()
    assert [outputs[name].split(":")[3] for name in ("here", "other")] == ["eu-west-1", "us-east-1"]
    assert (outputs["regions"], outputs["tags"]) == (["eu-west-1", "us-east-1"], {"by": "us"})
    again = project.preview()
    assert again.ok and again.changes == [], again.output
    assert project.destroy().ok


QUEUE = """
import pulumi_aws as aws
aws.secretsmanager.Secret("join", name="join", recovery_window_in_days=0, policy='{"Version": "2012-10-17"}')
"""


def test_what_stands_after_a_failure_is_in_the_state(pulumi: Pulumi, aws_cloud: AwsCloud) -> None:
    """The user may make a secret and not give it a policy: then the secret stands, and `destroy` finds it."""
    key = _user(aws_cloud, "secretsmanager:CreateSecret", "secretsmanager:DescribeSecret")
    project = pulumi.program(QUEUE, aws__region="eu-west-1", aws__accessKey=key["AccessKeyId"])
    project.set("aws:secretKey", key["SecretAccessKey"], secret=True)
    aws_cloud.enforce()
    assert "PutResourcePolicy" in told(project.up(), "join")
    aws_cloud.obey_everybody()
    assert "SecretList join" in aws_cloud.contents()
    assert project.destroy().ok
    assert "SecretList join" not in aws_cloud.contents()


def _user(cloud: AwsCloud, *actions: str) -> dict[str, str]:
    cloud.ask("iam", "create_user", UserName="installer")
    allowed = {"Effect": "Allow", "Action": ["sts:GetCallerIdentity", *actions], "Resource": "*"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [allowed]})
    cloud.ask("iam", "put_user_policy", UserName="installer", PolicyName="p", PolicyDocument=document)
    return cloud.ask("iam", "create_access_key", UserName="installer")["AccessKey"]
