"""What whoever installs may do, as AWS evaluates policies: its own installation, and nothing else of an account."""

from __future__ import annotations

from typing import Any

import pytest

from infra.installer_permissions import (
    INSTALLER_ROWS,
    MOST_CHARACTERS,
    characters,
    installer_policies,
    installer_values,
)
from test_permissions import ACCOUNT, KEY, KEY_POLICY, NO, OTHERS, OURS, REGION, VIA_S3, VIA_SECRETS, YES, ask

VALUES = installer_values("aws", ACCOUNT, REGION, "lab")
BORN = {"aws:RequestTag/remora:installation": "lab"}
BORN_ELSEWHERE = {"aws:RequestTag/remora:installation": "other"}
TO_MACHINES = {"iam:PassedToService": "ec2.amazonaws.com"}
IAM = f"arn:aws:iam::{ACCOUNT}"
LINKED = f"{IAM}:role/aws-service-role"
GROUP = f"arn:aws:autoscaling:{REGION}:{ACCOUNT}:autoScalingGroup:u:autoScalingGroupName/remora-lab-m6i-0a1b2c3"
THEIR_GROUP = GROUP.replace("remora-lab", "shop")
SECRET = f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:remora-lab-join-m6i-0a1b2c3-AbCdEf"
THEIR_SECRET = SECRET.replace("remora-lab", "shop")
PARAMETER = f"arn:aws:ssm:{REGION}:{ACCOUNT}:parameter/remora-lab-groups-0a1b2c3"
BUCKET = "arn:aws:s3:::remora-lab-data-0a1b2c3"


def ec2(kind: str) -> str:
    return f"arn:aws:ec2:{REGION}:{ACCOUNT}:{kind}/x-0a"


def role(name: str) -> str:
    return f"{IAM}:role/{name}"


Row = tuple[str, str, dict[str, str], str]
TABLE: list[Row] = [
    ("ec2:DescribeInstances", "*", {}, YES),
    ("ec2:DescribeVpcs", "*", {}, YES),
    ("autoscaling:DescribeAutoScalingGroups", "*", {}, YES),
    # Networks: made with our tag, changed and removed where it stands.
    ("ec2:CreateVpc", ec2("vpc"), BORN, YES),
    ("ec2:CreateVpc", ec2("vpc"), {}, NO),
    ("ec2:CreateVpc", ec2("vpc"), BORN_ELSEWHERE, NO),
    ("ec2:DeleteVpc", ec2("vpc"), OURS, YES),
    ("ec2:DeleteVpc", ec2("vpc"), OTHERS, NO),
    ("ec2:DeleteVpc", ec2("vpc"), {}, NO),
    ("ec2:CreateSubnet", ec2("subnet"), BORN, YES),
    ("ec2:CreateSubnet", ec2("vpc"), {**BORN, **OURS}, YES),
    ("ec2:CreateSubnet", ec2("vpc"), BORN, NO),
    ("ec2:CreateSecurityGroup", ec2("security-group"), BORN, YES),
    ("ec2:CreateSecurityGroup", ec2("security-group"), {}, NO),
    ("ec2:CreateSecurityGroup", ec2("vpc"), {}, YES),
    ("ec2:AuthorizeSecurityGroupIngress", ec2("security-group"), OURS, YES),
    ("ec2:AuthorizeSecurityGroupIngress", ec2("security-group"), {}, NO),
    ("ec2:RevokeSecurityGroupEgress", ec2("security-group"), {}, NO),
    ("ec2:DeleteSecurityGroup", ec2("security-group"), {}, NO),
    ("ec2:CreateRoute", ec2("route-table"), OURS, YES),
    ("ec2:CreateRoute", ec2("route-table"), {}, NO),
    ("ec2:ReleaseAddress", ec2("elastic-ip"), OTHERS, NO),
    ("ec2:DeleteNetworkInterface", ec2("network-interface"), {}, NO),
    # Machines.
    ("ec2:RunInstances", ec2("instance"), BORN, YES),
    ("ec2:RunInstances", ec2("instance"), {}, NO),
    ("ec2:RunInstances", ec2("instance"), BORN_ELSEWHERE, NO),
    ("ec2:RunInstances", ec2("volume"), {}, NO),
    ("ec2:RunInstances", ec2("subnet"), {}, YES),
    ("ec2:TerminateInstances", ec2("instance"), OURS, YES),
    ("ec2:TerminateInstances", ec2("instance"), {}, NO),
    ("ec2:TerminateInstances", ec2("instance"), OTHERS, NO),
    ("ec2:StopInstances", ec2("instance"), OURS, NO),
    ("ec2:GetConsoleOutput", ec2("instance"), OURS, NO),
    ("ec2:GetPasswordData", ec2("instance"), OURS, NO),
    ("ec2:DeleteVolume", ec2("volume"), OURS, NO),
    ("ec2:CreateSnapshot", ec2("volume"), OURS, NO),
    ("ec2:DeleteLaunchTemplate", ec2("launch-template"), {}, NO),
    # Nobody makes something ours by a tag.
    ("ec2:CreateTags", ec2("instance"), {**BORN, "ec2:CreateAction": "RunInstances"}, YES),
    ("ec2:CreateTags", ec2("instance"), BORN, NO),
    ("ec2:CreateTags", ec2("instance"), {**BORN, **OTHERS}, NO),
    ("ec2:CreateTags", ec2("instance"), {**BORN, **OURS}, YES),
    # Groups.
    ("autoscaling:CreateAutoScalingGroup", GROUP, BORN, YES),
    ("autoscaling:CreateAutoScalingGroup", GROUP, {}, NO),
    ("autoscaling:CreateAutoScalingGroup", THEIR_GROUP, BORN, NO),
    ("autoscaling:UpdateAutoScalingGroup", GROUP, OURS, YES),
    ("autoscaling:UpdateAutoScalingGroup", GROUP, {}, NO),
    ("autoscaling:DeleteAutoScalingGroup", GROUP, OTHERS, NO),
    ("autoscaling:DeleteAutoScalingGroup", THEIR_GROUP, OURS, NO),
    ("autoscaling:SetInstanceProtection", GROUP, OURS, YES),
    # Roles: four names, two of them for machines only.
    ("iam:CreateRole", role("remora-lab-master-0a1b2c3"), {}, YES),
    ("iam:CreateRole", role("remora-lab-admin-0a1b2c3"), {}, NO),
    ("iam:PutRolePolicy", role("remora-lab-worker-0a1b2c3"), {}, YES),
    ("iam:PutRolePolicy", role("remora-lab-two-worker-0a1b2c3"), {}, NO),
    ("iam:PutRolePolicy", role("admin"), {}, NO),
    ("iam:UpdateAssumeRolePolicy", role("admin"), {}, NO),
    ("iam:AttachRolePolicy", role("remora-lab-worker-0a1b2c3"), {}, NO),
    ("iam:PassRole", role("remora-lab-worker-0a1b2c3"), TO_MACHINES, YES),
    ("iam:PassRole", role("remora-lab-queue-0a1b2c3"), TO_MACHINES, YES),
    ("iam:PassRole", role("remora-lab-queue-0a1b2c3"), {"iam:PassedToService": "lambda.amazonaws.com"}, NO),
    ("iam:PassRole", role("remora-lab-queue-0a1b2c3"), {}, NO),
    ("iam:PassRole", role("remora-lab-master-0a1b2c3"), TO_MACHINES, NO),
    ("iam:PassRole", role("remora-lab-signer-0a1b2c3"), TO_MACHINES, NO),
    ("iam:PassRole", role("admin"), TO_MACHINES, NO),
    ("iam:AddRoleToInstanceProfile", f"{IAM}:instance-profile/remora-lab-queue-0a1b2c3", {}, YES),
    ("iam:AddRoleToInstanceProfile", f"{IAM}:instance-profile/shop", {}, NO),
    ("iam:CreateUser", f"{IAM}:user/somebody", {}, NO),
    ("iam:CreateAccessKey", f"{IAM}:user/somebody", {}, NO),
    ("sts:AssumeRole", role("remora-lab-master-0a1b2c3"), {}, NO),
    (
        "iam:CreateServiceLinkedRole",
        f"{LINKED}/autoscaling.amazonaws.com/AWSServiceRoleForAutoScaling",
        {"iam:AWSServiceName": "autoscaling.amazonaws.com"},
        YES,
    ),
    (
        "iam:CreateServiceLinkedRole",
        f"{LINKED}/rds.amazonaws.com/AWSServiceRoleForRDS",
        {"iam:AWSServiceName": "rds.amazonaws.com"},
        NO,
    ),
    # Stores are made; what is in them is neither read nor removed.
    ("s3:CreateBucket", BUCKET, {}, YES),
    ("s3:PutBucketPolicy", BUCKET, {}, YES),
    ("s3:PutBucketPolicy", "arn:aws:s3:::remora-lab-data-two-data-0a1b2c3", {}, NO),
    ("s3:PutBucketPolicy", "arn:aws:s3:::shop", {}, NO),
    ("s3:DeleteBucket", BUCKET, {}, NO),
    ("s3:GetObject", f"{BUCKET}/a", {}, NO),
    ("s3:PutObject", f"{BUCKET}/a", {}, NO),
    ("s3:DeleteObject", f"{BUCKET}/a", {}, NO),
    ("s3:ListAllMyBuckets", "*", {}, NO),
    ("kms:CreateKey", "*", BORN, YES),
    ("kms:CreateKey", "*", {}, NO),
    ("kms:EnableKeyRotation", KEY, OURS, YES),
    ("kms:EnableKeyRotation", KEY, {}, NO),
    ("kms:ScheduleKeyDeletion", KEY, OURS, NO),
    ("kms:DisableKey", KEY, OURS, NO),
    ("kms:PutKeyPolicy", KEY, OURS, NO),
    ("kms:Decrypt", KEY, {**OURS, **VIA_SECRETS}, YES),
    ("kms:Decrypt", KEY, {**OURS, **VIA_S3}, NO),
    ("kms:Decrypt", KEY, VIA_SECRETS, NO),
    ("ssm:PutParameter", PARAMETER, BORN, YES),
    ("ssm:PutParameter", PARAMETER, OURS, YES),
    ("ssm:PutParameter", PARAMETER, OTHERS, NO),
    ("ssm:PutParameter", PARAMETER.replace("groups", "other"), BORN, NO),
    ("ssm:GetParameter", PARAMETER, {}, NO),
    # Places of secrets are made and never read.
    ("secretsmanager:CreateSecret", SECRET, BORN, YES),
    ("secretsmanager:CreateSecret", SECRET, {}, NO),
    ("secretsmanager:CreateSecret", THEIR_SECRET, BORN, NO),
    ("secretsmanager:DeleteSecret", SECRET, OURS, YES),
    ("secretsmanager:DeleteSecret", SECRET, OTHERS, NO),
    ("secretsmanager:DeleteSecret", THEIR_SECRET, OURS, NO),
    ("secretsmanager:GetSecretValue", SECRET, OURS, NO),
    ("secretsmanager:PutSecretValue", SECRET, OURS, NO),
]


@pytest.mark.needs("iam-simulate")
def test_every_row_is_decided_as_the_table_says(tmp_path: Any) -> None:
    policies = installer_policies(VALUES)
    rows = [
        {
            "policies": policies,
            "principal": f"arn:aws:sts::{ACCOUNT}:assumed-role/installer/session",
            "account": ACCOUNT,
            "action": action,
            "resource": resource,
            "context": context,
            "resourcePolicy": KEY_POLICY if resource == KEY else None,
        }
        for action, resource, context, _ in TABLE
    ]
    said = ask(rows, tmp_path)
    wrong = [f"{row[:3]}: {word}, not {row[3]}" for row, word in zip(TABLE, said, strict=True) if word != row[3]]
    assert not wrong, "\n".join(wrong)


def test_it_fits_into_managed_policies() -> None:
    parts = installer_policies(VALUES)
    assert [part for part in parts if characters(part) > MOST_CHARACTERS] == []
    assert len(parts) <= 3


def test_nothing_is_allowed_on_everything() -> None:
    """`*` stands only with actions for which AWS knows no finer resource; no action is a pattern."""
    whole = {row.action for row in INSTALLER_ROWS if row.on == ("*",)}
    looks = {action for action in whole if action.partition(":")[2].startswith("Describe")}
    assert whole - looks == {"servicequotas:GetServiceQuota", "kms:CreateKey"}
    assert not [row for row in INSTALLER_ROWS if "*" in row.action]


def test_each_role_is_passed_to_one_service() -> None:
    passed = [row for row in INSTALLER_ROWS if row.action == "iam:PassRole"]
    assert [len(row.on) for row in passed] == [1, 1]
    assert all(row.where == {"StringEquals": {"iam:PassedToService": "{machines}"}} for row in passed)
    china = str(installer_policies(installer_values("aws-cn", ACCOUNT, "cn-north-1", "lab")))
    assert "ec2.amazonaws.com.cn" in china and "arn:aws:" not in china
