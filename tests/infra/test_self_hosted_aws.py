"""All of Remora in one account of AWS by the real CLI: what `pulumi up` makes, who reaches it, what stays."""

from __future__ import annotations

import base64
import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from infra.installation import InstallationDocument
from infra.policies.resource import of_state
from infra.policies.rules import violations
from support.cli import Project, Pulumi
from support.cloud import AwsCloud
from test_private_worker import done

pytestmark = [pytest.mark.needs("pulumi", "terraform-aws", "moto"), pytest.mark.timeout(600)]

PROGRAM = Path(__file__).with_name("programs") / "self_hosted"
DOMAIN = "remora.example.com"
OFFICE = "203.0.113.0/24"
CONTROL_PLANE = {
    "domain": DOMAIN,
    "allowed": [OFFICE],
    "release_keys": [base64.b64encode(bytes(32)).decode()],
    "type": "m5.large",
}


def self_hosted(pulumi: Pulumi, cloud: AwsCloud, stack: str = "lab", **settings: Any) -> Project:
    project = pulumi.project(PROGRAM, stack=stack)
    image = cloud.ask("ec2", "register_image", Name=f"image-{stack}", Architecture="x86_64")["ImageId"]
    certificate = cloud.ask("acm", "request_certificate", DomainName=DOMAIN)["CertificateArn"]
    control_plane = {**CONTROL_PLANE, "certificate": certificate, **settings.pop("control_plane", {})}
    values = {
        "name": stack,
        "region": "eu-west-1",
        "image": image,
        "groups": [{"type": "m5.large", "max": 3}],
        "control_plane": control_plane,
        "database": {"type": "db.t3.medium"},
        **settings,
    }
    project.set("remora:self_hosted", json.dumps(values))
    return project


def group_of(cloud: AwsCloud) -> dict[str, Any]:
    """The control plane's Auto Scaling group."""
    found = cloud.ask("autoscaling", "describe_auto_scaling_groups")["AutoScalingGroups"]
    [group] = [one for one in found if any(tag["Key"] == "remora:part" for tag in one["Tags"])]
    return group


def who_reaches(cloud: AwsCloud, part: str) -> set[tuple[int, str]]:
    """Port, and network or part, of everybody who may come in to a part."""
    groups = cloud.ask("ec2", "describe_security_groups")["SecurityGroups"]
    names = {group["GroupId"]: group["GroupName"] for group in groups}
    found = set()
    for group in groups:
        if not group["GroupName"].startswith(f"remora-lab-{part}-"):
            continue
        for rule in group["IpPermissions"]:
            assert rule["FromPort"] == rule["ToPort"] and not rule.get("Ipv6Ranges")
            found |= {(rule["FromPort"], one["CidrIp"]) for one in rule["IpRanges"]}
            others = [names[one["GroupId"]] for one in rule["UserIdGroupPairs"]]
            found |= {(rule["FromPort"], name.removeprefix("remora-lab-").rpartition("-")[0]) for name in others}
    return found


def only_who_has_business_comes_in(cloud: AwsCloud) -> None:
    assert who_reaches(cloud, "balancer") == {(443, OFFICE), (80, OFFICE)}
    assert who_reaches(cloud, "master") == {(8765, "balancer")}
    assert who_reaches(cloud, "database") == {(5432, "master")}
    assert who_reaches(cloud, "queue") == {(7379, "master"), (7379, "workers")}
    assert who_reaches(cloud, "workers") == set()


def the_balancer_answers_by_tls(cloud: AwsCloud, address: str) -> None:
    [balancer] = cloud.ask("elbv2", "describe_load_balancers")["LoadBalancers"]
    assert balancer["DNSName"] == address and balancer.get("Scheme") != "internal"
    listeners = cloud.ask("elbv2", "describe_listeners", LoadBalancerArn=balancer["LoadBalancerArn"])["Listeners"]
    by_port = {one["Port"]: one for one in listeners}
    assert set(by_port) == {80, 443}
    assert by_port[443]["SslPolicy"].startswith("ELBSecurityPolicy-TLS13-1-2-") and by_port[443]["Certificates"]
    assert [one["Type"] for one in by_port[80]["DefaultActions"]] == ["redirect"]
    [targets] = cloud.ask("elbv2", "describe_target_groups")["TargetGroups"]
    assert (targets["Protocol"], targets["HealthCheckPath"]) == ("HTTPS", "/readyz")


def the_database_keeps_its_data(cloud: AwsCloud) -> str:
    """The address of its secret."""
    [database] = cloud.ask("rds", "describe_db_instances")["DBInstances"]
    assert database["StorageEncrypted"] and database["DeletionProtection"] and database["MultiAZ"]
    assert not database["PubliclyAccessible"]
    assert database["BackupRetentionPeriod"] == 14
    return database["MasterUserSecret"]["SecretArn"]


def what_the_machines_may(cloud: AwsCloud, database_secret: str) -> None:
    """They are nobody else's role, and the control plane's two policies are theirs."""
    [template] = [
        one["LaunchTemplateData"]
        for one in cloud.ask("ec2", "describe_launch_template_versions", Versions=["$Latest"])["LaunchTemplateVersions"]
        if one["LaunchTemplateName"].startswith("remora-lab-master-")
    ]
    assert template["MetadataOptions"]["HttpTokens"] == "required"
    profile = template["IamInstanceProfile"]["Name"]
    found = cloud.ask("iam", "get_instance_profile", InstanceProfileName=profile)["InstanceProfile"]
    [role] = found["Roles"]
    [trust] = role["AssumeRolePolicyDocument"]["Statement"]
    assert trust["Principal"] == {"Service": "ec2.amazonaws.com"}
    name = role["RoleName"]
    policies = [
        cloud.ask("iam", "get_role_policy", RoleName=name, PolicyName=policy)["PolicyDocument"]
        for policy in cloud.ask("iam", "list_role_policies", RoleName=name)["PolicyNames"]
    ]
    statements = [one for policy in policies for one in policy["Statement"]]
    allowed = {action for one in statements for action in one["Action"]}
    assert {"autoscaling:SetDesiredCapacity", "s3:PutObject", "secretsmanager:GetSecretValue"} <= allowed
    assert any(one["Resource"] == [database_secret] for one in statements)
    script = gzip.decompress(base64.b64decode(template["UserData"])).decode()
    assert script.startswith("#!/bin/sh") and database_secret in script and DOMAIN in script


@pytest.mark.slow
def test_subnets_of_one_zone_are_refused_before_anything_is_made(pulumi: Pulumi, aws_cloud: AwsCloud) -> None:
    network = aws_cloud.ask("ec2", "create_vpc", CidrBlock="10.9.0.0/16")["Vpc"]["VpcId"]
    zone = {"VpcId": network, "AvailabilityZone": "eu-west-1a"}
    subnets = [
        aws_cloud.ask("ec2", "create_subnet", CidrBlock=f"10.9.{number}.0/24", **zone)["Subnet"]["SubnetId"]
        for number in (1, 2)
    ]
    project = self_hosted(pulumi, aws_cloud, network={"vpc_id": network, "subnet_ids": subnets})
    before = aws_cloud.contents()
    refused = project.up()
    assert not refused.ok and "network.subnet_ids: All are in eu-west-1a" in refused.output
    assert aws_cloud.contents() == before


def test_it_comes_up_but_for_the_database(pulumi: Pulumi, aws_cloud: AwsCloud) -> None:
    """The provider waits a minute and a half for a database: with it, and what needs it, only below."""
    project = self_hosted(pulumi, aws_cloud)
    before = aws_cloud.contents()
    assert done(project.preview()).counts["create"] > 90
    assert aws_cloud.contents() == before
    without = ["--exclude", "**aws:rds/instance:Instance**", "--exclude-dependents"]
    done(project.up(*without))
    assert done(project.preview(*without)).changes == []

    outputs = project.outputs()
    document = InstallationDocument.model_validate(outputs["installation"])
    assert (document.flavour, document.access and document.access.role) == ("self_hosted", "")
    assert violations(of_state(project.export())) == []
    only_who_has_business_comes_in(aws_cloud)
    the_balancer_answers_by_tls(aws_cloud, outputs["balancer"])
    [repository] = aws_cloud.ask("ecr", "describe_repositories")["repositories"]
    assert repository["imageTagMutability"] == "IMMUTABLE" and repository["repositoryUri"] == outputs["registry"]


@pytest.mark.slow
def test_its_whole_life(pulumi: Pulumi, aws_cloud: AwsCloud) -> None:
    project = self_hosted(pulumi, aws_cloud)
    before = aws_cloud.contents()
    planned = done(project.preview())
    assert aws_cloud.contents() == before
    assert done(project.up()).counts["create"] == planned.counts["create"]
    assert done(project.preview()).changes == []
    state = project.export()
    assert violations(of_state(state)) == []
    secret = the_database_keeps_its_data(aws_cloud)
    what_the_machines_may(aws_cloud, secret)
    [targets] = aws_cloud.ask("elbv2", "describe_target_groups")["TargetGroups"]
    assert group_of(aws_cloud)["TargetGroupARNs"] == [targets["TargetGroupArn"]]
    assert len(group_of(aws_cloud)["Instances"]) == 2

    # AWS made the password and keeps it: Pulumi knows where it is.
    login = json.loads(aws_cloud.ask("secretsmanager", "get_secret_value", SecretId=secret)["SecretString"])
    assert login["password"] and login["password"] not in json.dumps(project.export("--show-secrets"))
    assert secret in json.dumps(state)
    done(project.refresh())
    assert done(project.up()).changes == []

    # More machines, and a longer way back: nothing else moves, and nothing is made anew.
    changed = {**asked(project), "database": {"type": "db.t3.medium", "backup_days": 30}}
    changed["control_plane"] = {**changed["control_plane"], "replicas": 3}
    project.set("remora:self_hosted", json.dumps(changed))
    steps = [step for step in done(project.up()).changes if step.type.startswith("aws:")]
    assert {(step.op, step.name) for step in steps} == {
        ("update", "remora-lab-master"),
        ("update", "remora-lab-database"),
    }
    assert len(group_of(aws_cloud)["Instances"]) == 3
    [database] = aws_cloud.ask("rds", "describe_db_instances")["DBInstances"]
    assert database["BackupRetentionPeriod"] == 30

    # The balancer goes by intention only: who removes it takes that from it first. moto does not insist.
    [balancer] = aws_cloud.ask("elbv2", "describe_load_balancers")["LoadBalancers"]
    arn = {"LoadBalancerArn": balancer["LoadBalancerArn"]}
    attributes = aws_cloud.ask("elbv2", "describe_load_balancer_attributes", **arn)["Attributes"]
    assert {"Key": "deletion_protection.enabled", "Value": "true"} in attributes
    freed = [{"Key": "deletion_protection.enabled", "Value": "false"}]
    aws_cloud.ask("elbv2", "modify_load_balancer_attributes", Attributes=freed, **arn)

    # All goes, but for what holds data, and the network that the database stands in.
    done(project.destroy("--exclude-protected"))
    left = {thing.partition(" ")[0] for thing in aws_cloud.contents() - before}
    assert left >= {"Buckets", "DBInstances", "Keys", "repositories", "Subnets", "Vpcs"}
    assert not left & {"AutoScalingGroups", "Instances", "LaunchTemplates", "LoadBalancers", "Roles", "TargetGroups"}


def asked(project: Project) -> dict[str, Any]:
    return json.loads(project.run("config", "get", "--stack", project.stack, "remora:self_hosted"))
