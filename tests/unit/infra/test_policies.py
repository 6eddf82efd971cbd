"""Every rule on a resource that keeps it and on those that break it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from infra.policies.resource import Resource, of_state
from infra.policies.rules import RULES, violations

MARKED = {"4dabf18193072939515e22adb298388d": "1b47061264138c4ac30d75fd1eb44270", "ciphertext": "v1:x"}
TAGS = {"remora:installation": "lab"}
EBS = {"encrypted": "true"}
METADATA = {"httpTokens": "required", "httpPutResponseHopLimit": 1}
TEMPLATE = Resource(
    "aws:ec2/launchTemplate:LaunchTemplate",
    "template",
    {
        "name": "remora-lab-m6i-0a1b2c3",
        "tags": TAGS,
        "metadataOptions": METADATA,
        "blockDeviceMappings": [{"deviceName": "/dev/xvda", "ebs": EBS}],
    },
)
OWN_TAGS = [{"key": "remora:installation", "value": "lab", "propagateAtLaunch": True}]
GROUP = Resource(
    "aws:autoscaling/group:Group",
    "group",
    {
        "name": "remora-lab-m6i-0a1b2c3",
        "suspendedProcesses": ["AZRebalance", "ReplaceUnhealthy"],
        "tags": OWN_TAGS,
    },
    ignored=frozenset({"desiredCapacity"}),
)
BUCKET = Resource("aws:s3/bucket:Bucket", "data", {"bucket": "remora-lab-data-0a1b2c3", "tags": TAGS}, True, True)
BLOCK = Resource(
    "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock",
    "block",
    dict.fromkeys(("blockPublicAcls", "blockPublicPolicy", "ignorePublicAcls", "restrictPublicBuckets"), True),
)
DATABASE = Resource(
    "aws:rds/instance:Instance",
    "database",
    {
        "identifier": "remora-lab-database-0a1b2c3",
        "tags": TAGS,
        "storageEncrypted": True,
        "publiclyAccessible": False,
        "manageMasterUserPassword": True,
        "deletionProtection": True,
        "skipFinalSnapshot": False,
        "backupRetentionPeriod": 14,
    },
    True,
    True,
)
FORCED = {"name": "rds.force_ssl", "value": "1"}
PARAMETERS = Resource("aws:rds/parameterGroup:ParameterGroup", "parameters", {"parameters": [FORCED]})
REGISTRY = Resource(
    "aws:ecr/repository:Repository",
    "images",
    {
        "name": "remora-lab-images-0a1b2c3",
        "tags": TAGS,
        "imageTagMutability": "IMMUTABLE",
        "imageScanningConfiguration": {"scanOnPush": True},
        "encryptionConfigurations": [{"encryptionType": "KMS", "kmsKey": "arn:aws:kms:::key/1"}],
    },
    True,
    True,
)
HTTPS = Resource(
    "aws:lb/listener:Listener",
    "https",
    {
        "protocol": "HTTPS",
        "sslPolicy": "ELBSecurityPolicy-TLS13-1-2-2021-06",
        "defaultActions": [{"type": "forward", "targetGroupArn": "arn:aws:elasticloadbalancing:::targetgroup/t"}],
    },
)
HTTP = Resource(
    "aws:lb/listener:Listener",
    "http",
    {"protocol": "HTTP", "defaultActions": [{"type": "redirect", "redirect": {"protocol": "HTTPS"}}]},
)
TARGETS = Resource("aws:lb/targetGroup:TargetGroup", "targets", {"protocol": "HTTPS"})
SECRET = Resource(
    "aws:secretsmanager/secret:Secret", "secret", {"name": "s-0a1b2c3", "tags": TAGS, "kmsKeyId": "arn:aws:kms:::key/1"}
)


def ingress(**inputs: Any) -> Resource:
    return Resource("aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule", "rule", inputs)


def policy(*statements: dict[str, Any]) -> Resource:
    return Resource("aws:iam/rolePolicy:RolePolicy", "policy", {"policy": json.dumps({"Statement": list(statements)})})


def but(resource: Resource, **inputs: Any) -> Resource:
    return replace(resource, inputs={**resource.inputs, **inputs})


KEPT = [
    TEMPLATE,
    GROUP,
    BUCKET,
    BLOCK,
    DATABASE,
    PARAMETERS,
    REGISTRY,
    HTTPS,
    HTTP,
    TARGETS,
    but(GROUP, suspendedProcesses=[], desiredCapacity=2, tags=[*OWN_TAGS, {"key": "remora:part", "value": "x"}]),
    SECRET,
    Resource("aws:x:Y", "deep", {"users": [{"name": "a", "password": MARKED}], "tokenTtl": "5"}),
    ingress(cidrIpv4="203.0.113.7/32", fromPort=7379, toPort=7379),
    ingress(cidrIpv4="0.0.0.0/0", fromPort=443, toPort=443),
    ingress(cidrIpv4="0.0.0.0/0", fromPort=80, toPort=80, tags={"remora:redirect": "https"}),
    policy({"Effect": "Allow", "Action": ["s3:GetObject"], "Resource": ["arn:aws:s3:::b/*"]}),
    policy({"Effect": "Allow", "Action": "ec2:DescribeInstances", "Resource": "*"}),
    policy({"Effect": "Deny", "Action": "s3:*", "Resource": "*"}),
]
BROKEN = [
    ("tags", but(TEMPLATE, tags={})),
    ("tags", but(GROUP, tags=[{"key": "remora:installation", "value": "lab", "propagateAtLaunch": False}])),
    ("nothing-public", ingress(cidrIpv4="0.0.0.0/0", fromPort=22, toPort=22)),
    ("nothing-public", ingress(cidrIpv6="::/0", fromPort=443, toPort=8443)),
    ("nothing-public", ingress(cidrIpv4="0.0.0.0/0", fromPort=80, toPort=80)),
    ("nothing-public", ingress(cidrIpv4="0.0.0.0/0", fromPort=22, toPort=22, tags={"remora:redirect": "https"})),
    ("nothing-public", but(BLOCK, blockPublicPolicy=False)),
    ("nothing-public", but(DATABASE, publiclyAccessible=True)),
    (
        "nothing-public",
        Resource("aws:ec2/securityGroup:SecurityGroup", "g", {"tags": TAGS, "ingress": [{"fromPort": 22}]}),
    ),
    ("encrypted", but(TEMPLATE, blockDeviceMappings=[{"deviceName": "/dev/xvda", "ebs": {}}])),
    ("encrypted", but(TEMPLATE, blockDeviceMappings=[])),
    ("encrypted", but(DATABASE, storageEncrypted=False)),
    ("encrypted", but(SECRET, kmsKeyId="")),
    ("encrypted", but(REGISTRY, encryptionConfigurations=[{"encryptionType": "AES256"}])),
    ("metadata-by-token", but(TEMPLATE, metadataOptions={**METADATA, "httpTokens": "optional"})),
    ("metadata-by-token", but(TEMPLATE, metadataOptions={**METADATA, "httpPutResponseHopLimit": 2})),
    ("protected", replace(BUCKET, protect=False)),
    ("protected", replace(DATABASE, retain=False)),
    ("protected", but(DATABASE, deletionProtection=False)),
    ("protected", but(DATABASE, skipFinalSnapshot=True)),
    ("protected", replace(REGISTRY, protect=False)),
    ("backed-up", but(DATABASE, backupRetentionPeriod=0)),
    ("tls", but(PARAMETERS, parameters=[{**FORCED, "value": "0"}])),
    ("tls", but(HTTPS, sslPolicy="ELBSecurityPolicy-2016-08")),
    ("tls", but(HTTP, defaultActions=HTTPS.inputs["defaultActions"])),
    ("tls", but(TARGETS, protocol="HTTP")),
    ("images", but(REGISTRY, imageTagMutability="MUTABLE")),
    ("images", but(REGISTRY, imageScanningConfiguration={"scanOnPush": False})),
    ("no-size", but(GROUP, desiredCapacity=0)),
    ("no-size", but(GROUP, suspendedProcesses=["AZRebalance"])),
    ("no-secret-value", Resource("aws:secretsmanager/secretVersion:SecretVersion", "version", {})),
    ("no-secret-value", Resource("random:index/randomPassword:RandomPassword", "password", {})),
    ("no-secret-value", but(DATABASE, password=MARKED)),
    ("marked", Resource("aws:elasticache/cluster:Cluster", "cache", {"authToken": "x"})),
    ("marked", Resource("aws:x:Y", "deep", {"users": [{"name": "a", "password": "x"}]})),
    ("no-fixed-name", but(BUCKET, bucket="remora-data")),
    ("no-fixed-name", but(GROUP, name="dev-workers")),
    ("narrow", policy({"Effect": "Allow", "Action": "s3:*", "Resource": ["arn:aws:s3:::b"]})),
    ("narrow", policy({"Effect": "Allow", "Action": ["iam:PassRole"], "Resource": "*", "Condition": {"x": {}}})),
    ("narrow", policy({"Effect": "Allow", "Action": ["iam:PassRole"], "Resource": ["arn:aws:iam::1:role/r"]})),
    ("no-lasting-key", Resource("aws:iam/accessKey:AccessKey", "key", {"user": "remora"})),
    ("no-lasting-key", Resource("aws:iam/user:User", "user", {})),
]


def test_what_keeps_the_rules_passes() -> None:
    assert violations(KEPT) == []


@pytest.mark.security("I07", "I08", "I10")
@pytest.mark.parametrize(("rule", "resource"), BROKEN, ids=[f"{rule}-{one.name}" for rule, one in BROKEN])
def test_what_breaks_a_rule_is_named(rule: str, resource: Resource) -> None:
    found = violations([resource])
    assert [one.rule for one in found] == [rule]
    assert found[0].resource == resource.name and found[0].sentence.startswith(resource.name)


def test_every_rule_is_broken_once_here() -> None:
    assert {rule for rule, _ in BROKEN} == {rule.name for rule in RULES}


def test_an_exported_state_is_read() -> None:
    row = {"urn": "urn:pulumi:s::remora::aws:s3/bucket:Bucket::data", "custom": True, "type": BUCKET.kind}
    row |= {"inputs": {"bucket": "b"}, "outputs": {"tagsAll": TAGS}, "protect": True, "retainOnDelete": True}
    stack = {
        "urn": "urn:pulumi:s::remora::pulumi:pulumi:Stack::remora-s",
        "custom": False,
        "type": "pulumi:pulumi:Stack",
    }
    provider = {"urn": "urn:pulumi:s::remora::pulumi:providers:aws::p", "custom": True, "type": "pulumi:providers:aws"}
    found = of_state({"deployment": {"resources": [stack, provider, row]}})
    assert found == [Resource(BUCKET.kind, "data", {"bucket": "b", "tagsAll": TAGS}, True, True)]
