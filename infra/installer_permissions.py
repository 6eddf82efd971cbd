"""Every call of AWS that installing makes or causes: the policy of whoever runs `remora install` or `pulumi up`.

Words in `on` and `where` in braces are {partition} {account} {region} {installation}, and {machines}: the service that
machines' roles are passed to.
"""

from __future__ import annotations

import json
from typing import Any

from infra.permissions import EVERY_BUCKET, GROUPS, TAGGED, THROUGH_SECRETS, Cause, Row, machine_service, policy_of

BORN = {"StringEquals": {"aws:RequestTag/remora:installation": "{installation}"}}
# Characters of a managed policy, white space apart.
MOST_CHARACTERS = 6144


def _ec2(*kinds: str) -> tuple[str, ...]:
    return tuple(f"arn:{{partition}}:ec2:{{region}}:{{account}}:{kind}/*" for kind in kinds)


def _named(kind: str, *parts: str) -> tuple[str, ...]:
    # Seven letters are Pulumi's own: an installation whose name begins with this one's is not meant.
    return tuple(f"arn:{{partition}}:iam::{{account}}:{kind}/remora-{{installation}}-{part}-???????" for part in parts)


def _install(
    why: str,
    on: tuple[str, ...],
    where: dict[str, dict[str, str]],
    *actions: str,
    cause: Cause = "call",
    by: str = "stacks",
) -> tuple[Row, ...]:
    return tuple(Row("installer", action, on, cause, by, why, where) for action in actions)


EVERY_EC2 = ("arn:{partition}:ec2:{region}:{account}:*",)
OWN_GROUPS = tuple(arn.removesuffix("*") + "remora-{installation}-*" for arn in GROUPS)
KEYS = ("arn:{partition}:kms:{region}:{account}:key/*",)
PARAMETERS = ("arn:{partition}:ssm:{region}:{account}:parameter/remora-{installation}-groups-???????",)
SECRETS = ("arn:{partition}:secretsmanager:{region}:{account}:secret:remora-{installation}-*",)
OWN_BUCKETS = tuple(f"arn:{{partition}}:s3:::remora-{{installation}}-{store}-???????" for store in EVERY_BUCKET)
EVERY_ROLE = ("master", "signer", "queue", "worker")
LINKED = "arn:{partition}:iam::{account}:role/aws-service-role/"

# Whoever installs. What is made carries the installation's tag from its first moment, or a name that begins with it;
# what is changed or removed carries it already. Buckets and keys can't be removed, nor objects and secrets be read.
INSTALLER_ROWS: tuple[Row, ...] = (
    *_install(
        "to look before anything is made, and to see what stands",
        ("*",),
        {},
        "ec2:DescribeAddresses",
        "ec2:DescribeAddressesAttribute",
        "ec2:DescribeAvailabilityZones",
        "ec2:DescribeImages",
        "ec2:DescribeInstanceAttribute",
        "ec2:DescribeInstanceCreditSpecifications",
        "ec2:DescribeInstanceTypeOfferings",
        "ec2:DescribeInstanceTypes",
        "ec2:DescribeInstances",
        "ec2:DescribeInternetGateways",
        "ec2:DescribeLaunchTemplateVersions",
        "ec2:DescribeLaunchTemplates",
        "ec2:DescribeNatGateways",
        "ec2:DescribeNetworkAcls",
        "ec2:DescribeNetworkInterfaces",
        "ec2:DescribePrefixLists",
        "ec2:DescribeRouteTables",
        "ec2:DescribeSecurityGroupRules",
        "ec2:DescribeSecurityGroups",
        "ec2:DescribeSubnets",
        "ec2:DescribeTags",
        "ec2:DescribeVolumes",
        "ec2:DescribeVpcAttribute",
        "ec2:DescribeVpcEndpoints",
        "ec2:DescribeVpcs",
        "autoscaling:DescribeAutoScalingGroups",
        "ssm:DescribeParameters",
    ),
    *_install(
        "the checks before",
        ("*",),
        {},
        "ec2:DescribeRegions",
        "servicequotas:GetServiceQuota",
        by="wizard",
    ),
    # Networks and machines: made with our tag.
    *_install("a network", _ec2("vpc"), BORN, "ec2:CreateVpc"),
    *_install("its subnets", _ec2("subnet"), BORN, "ec2:CreateSubnet"),
    *_install("its way out", _ec2("internet-gateway"), BORN, "ec2:CreateInternetGateway"),
    *_install("its routes", _ec2("route-table"), BORN, "ec2:CreateRouteTable"),
    *_install("its way to S3", _ec2("vpc-endpoint"), BORN, "ec2:CreateVpcEndpoint"),
    *_install("its way out by NAT", _ec2("natgateway"), BORN, "ec2:CreateNatGateway"),
    *_install("addresses of queue and NAT", _ec2("elastic-ip"), BORN, "ec2:AllocateAddress"),
    *_install("who may come in", _ec2("security-group"), BORN, "ec2:CreateSecurityGroup"),
    *_install("the queue's place in the network", _ec2("network-interface"), BORN, "ec2:CreateNetworkInterface"),
    *_install("what a group's machines are", _ec2("launch-template"), BORN, "ec2:CreateLaunchTemplate"),
    *_install("the queue's machine; groups are tried", _ec2("instance", "volume"), BORN, "ec2:RunInstances"),
    *_install(
        "what a machine is made of",
        (
            *_ec2("subnet", "network-interface", "security-group", "launch-template", "spot-instances-request"),
            "arn:{partition}:ec2:{region}::image/*",
        ),
        {},
        "ec2:RunInstances",
    ),
    *_install("into a network of one's own", _ec2("vpc"), {}, "ec2:CreateSecurityGroup", cause="implied"),
    *_install("into a subnet of one's own", _ec2("subnet"), {}, "ec2:CreateNetworkInterface", cause="implied"),
    *_install(
        "rules of our groups",
        _ec2("security-group-rule"),
        {},
        *(
            "ec2:AuthorizeSecurityGroupEgress",
            "ec2:AuthorizeSecurityGroupIngress",
        ),
        cause="implied",
    ),
    *_install(
        "tags of what is being made",
        EVERY_EC2,
        {
            **BORN,
            "StringLike": {"ec2:CreateAction": "*"},
        },
        "ec2:CreateTags",
        cause="implied",
    ),
    *_install(
        "what carries our tag is joined, changed and removed",
        EVERY_EC2,
        TAGGED,
        "ec2:AssociateAddress",
        "ec2:AssociateRouteTable",
        "ec2:AttachInternetGateway",
        "ec2:AuthorizeSecurityGroupEgress",
        "ec2:AuthorizeSecurityGroupIngress",
        "ec2:CreateLaunchTemplateVersion",
        "ec2:CreateNatGateway",
        "ec2:CreateNetworkInterface",
        "ec2:CreateRoute",
        "ec2:CreateRouteTable",
        "ec2:CreateSubnet",
        "ec2:CreateTags",
        "ec2:CreateVpcEndpoint",
        "ec2:DeleteInternetGateway",
        "ec2:DeleteLaunchTemplate",
        "ec2:DeleteNatGateway",
        "ec2:DeleteNetworkInterface",
        "ec2:DeleteRoute",
        "ec2:DeleteRouteTable",
        "ec2:DeleteSecurityGroup",
        "ec2:DeleteSubnet",
        "ec2:DeleteTags",
        "ec2:DeleteVpc",
        "ec2:DeleteVpcEndpoints",
        "ec2:DetachInternetGateway",
        "ec2:DetachNetworkInterface",
        "ec2:DisassociateAddress",
        "ec2:DisassociateRouteTable",
        "ec2:ModifyInstanceAttribute",
        "ec2:ModifyLaunchTemplate",
        "ec2:ModifySubnetAttribute",
        "ec2:ModifyVpcAttribute",
        "ec2:ReleaseAddress",
        "ec2:RevokeSecurityGroupEgress",
        "ec2:RevokeSecurityGroupIngress",
        "ec2:TerminateInstances",
    ),
    # Worker groups.
    *_install("a group", OWN_GROUPS, BORN, "autoscaling:CreateAutoScalingGroup"),
    *_install("a group's tags", OWN_GROUPS, BORN, "autoscaling:CreateOrUpdateTags", cause="implied"),
    *_install(
        "our groups are changed and removed",
        OWN_GROUPS,
        TAGGED,
        "autoscaling:DeleteAutoScalingGroup",
        "autoscaling:DeleteTags",
        "autoscaling:SuspendProcesses",
        "autoscaling:UpdateAutoScalingGroup",
    ),
    *_install(
        "machines lose their protection before a group goes",
        OWN_GROUPS,
        TAGGED,
        "autoscaling:SetInstanceProtection",
        by="wizard",
    ),
    Row(
        "installer",
        "iam:CreateServiceLinkedRole",
        (f"{LINKED}autoscaling.amazonaws.com/*",),
        "implied",
        "autoscaling",
        "an account's first group",
        {"StringEquals": {"iam:AWSServiceName": "autoscaling.amazonaws.com"}},
    ),
    Row(
        "installer",
        "iam:CreateServiceLinkedRole",
        (f"{LINKED}spot.amazonaws.com/*",),
        "implied",
        "ec2",
        "an account's first spot machine",
        {"StringEquals": {"iam:AWSServiceName": "spot.amazonaws.com"}},
    ),
    # Four roles, two of which machines may have.
    *_install(
        "roles of control plane and machines",
        _named("role", *EVERY_ROLE),
        {},
        "iam:CreateRole",
        "iam:DeleteRole",
        "iam:DeleteRolePolicy",
        "iam:GetRole",
        "iam:GetRolePolicy",
        "iam:ListAttachedRolePolicies",
        "iam:ListInstanceProfilesForRole",
        "iam:ListRolePolicies",
        "iam:PutRolePolicy",
        "iam:TagRole",
        "iam:UntagRole",
        "iam:UpdateAssumeRolePolicy",
    ),
    *_install(
        "how machines come to their role",
        _named("instance-profile", "queue", "worker"),
        {},
        "iam:AddRoleToInstanceProfile",
        "iam:CreateInstanceProfile",
        "iam:DeleteInstanceProfile",
        "iam:GetInstanceProfile",
        "iam:RemoveRoleFromInstanceProfile",
        "iam:TagInstanceProfile",
        "iam:UntagInstanceProfile",
    ),
    *(
        Row(
            "installer",
            "iam:PassRole",
            _named("role", role),
            "implied",
            "ec2",
            f"a machine gets the role {role}",
            {"StringEquals": {"iam:PassedToService": "{machines}"}},
        )
        for role in ("queue", "worker")
    ),
    # Stores and their key.
    *_install(
        "buckets, private, encrypted and versioned",
        OWN_BUCKETS,
        {},
        "s3:CreateBucket",
        "s3:GetAccelerateConfiguration",
        "s3:GetBucketAcl",
        "s3:GetBucketCORS",
        "s3:GetBucketLogging",
        "s3:GetBucketObjectLockConfiguration",
        "s3:GetBucketOwnershipControls",
        "s3:GetBucketPolicy",
        "s3:GetBucketPublicAccessBlock",
        "s3:GetBucketRequestPayment",
        "s3:GetBucketTagging",
        "s3:GetBucketVersioning",
        "s3:GetBucketWebsite",
        "s3:GetEncryptionConfiguration",
        "s3:GetLifecycleConfiguration",
        "s3:GetReplicationConfiguration",
        "s3:ListBucket",
        "s3:ListTagsForResource",
        "s3:PutBucketCORS",
        "s3:PutBucketOwnershipControls",
        "s3:PutBucketPolicy",
        "s3:PutBucketPublicAccessBlock",
        "s3:PutBucketTagging",
        "s3:PutBucketVersioning",
        "s3:PutEncryptionConfiguration",
        "s3:PutLifecycleConfiguration",
        "s3:TagResource",
        "s3:UntagResource",
    ),
    *_install("the key of stores and secrets", ("*",), BORN, "kms:CreateKey"),
    *_install("its tag", KEYS, BORN, "kms:TagResource", cause="implied"),
    *_install(
        "our key is seen and turned every year",
        KEYS,
        TAGGED,
        "kms:DescribeKey",
        "kms:EnableKeyRotation",
        "kms:GetKeyPolicy",
        "kms:GetKeyRotationStatus",
        "kms:ListResourceTags",
        "kms:TagResource",
        "kms:UntagResource",
    ),
    *_install(
        "a secret is encrypted",
        KEYS,
        {"StringEquals": {**TAGGED["StringEquals"], **THROUGH_SECRETS["StringEquals"]}},
        "kms:Decrypt",
        "kms:GenerateDataKey",
        cause="implied",
        by="secretsmanager",
    ),
    # The list of groups that the queue's machine reads.
    *_install("the list of groups", PARAMETERS, BORN, "ssm:PutParameter"),
    *_install("its tags", PARAMETERS, BORN, "ssm:AddTagsToResource", cause="implied"),
    *_install(
        "our list is changed and removed",
        PARAMETERS,
        TAGGED,
        "ssm:AddTagsToResource",
        "ssm:DeleteParameter",
        "ssm:GetParameter",
        "ssm:ListTagsForResource",
        "ssm:PutParameter",
        "ssm:RemoveTagsFromResource",
    ),
    # Places of secrets: made empty, never read.
    *_install("places of secrets", SECRETS, BORN, "secretsmanager:CreateSecret"),
    *_install("their tags", SECRETS, BORN, "secretsmanager:TagResource", cause="implied"),
    *_install(
        "places of our secrets are changed and removed",
        SECRETS,
        TAGGED,
        "secretsmanager:DeleteSecret",
        "secretsmanager:DescribeSecret",
        "secretsmanager:GetResourcePolicy",
        "secretsmanager:TagResource",
        "secretsmanager:UntagResource",
        "secretsmanager:UpdateSecret",
    ),
)


def installer_values(partition: str, account: str, region: str, installation: str) -> dict[str, str]:
    """The words that the installer's policy needs: all are known before anything stands. Pure."""
    return {
        "partition": partition,
        "account": account,
        "region": region,
        "installation": installation,
        "machines": machine_service(partition),
    }


def installer_policies(values: dict[str, str], most: int = MOST_CHARACTERS) -> list[dict[str, Any]]:
    """The installer's policy as documents of at most so many characters: its statements, in their order. Pure."""
    policy = policy_of(INSTALLER_ROWS, values)
    parts: list[list[dict[str, Any]]] = [[]]
    for statement in policy["Statement"]:
        if parts[-1] and characters({**policy, "Statement": [*parts[-1], statement]}) > most:
            parts.append([])
        parts[-1].append(statement)
    return [{**policy, "Statement": part} for part in parts]


def characters(policy: dict[str, Any]) -> int:
    """As AWS counts them: without white space. Pure."""
    return len(json.dumps(policy, separators=(",", ":")))
