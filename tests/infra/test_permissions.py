"""What each role may do, row by row, as AWS evaluates policies: what is needed, and nothing else of an account.

Untagged resources and those of another installation are in the table beside our own.
"""

from __future__ import annotations

import ast
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from infra.permissions import AWS_ROWS, aws_machine_trust, aws_policy, aws_trust
from plugin.store_parts import IAM_SIMULATE, TOOLS

pytestmark = pytest.mark.needs("iam-simulate")

ROOT = Path(__file__).parents[2]
STORES = "tests/contracts/test_stores.py"
STANDS = "tests/infra/test_private_worker.py::test_it_comes_up_keeps_the_rules_stays_and_goes"
ALONE = "tests/infra/startup/test_startup_master.py::test_a_machine_that_can_not_serve_says_why_and_powers_off"
# What no recorder sees, and the test that has it done: presigned addresses, stores on a server of their own, and what
# AWS asks for because buckets and secrets are encrypted with the installation's key.
PROVED = {
    ("signer", "s3:GetObject"): f"{STORES}::test_a_signed_address_writes_and_reads",
    ("signer", "s3:PutObject"): f"{STORES}::test_a_signed_address_writes_and_reads",
    ("signer", "s3:DeleteObject"): f"{STORES}::test_delete_and_list",
    ("signer", "s3:AbortMultipartUpload"): f"{STORES}::test_an_upload_that_was_aborted_is_gone",
    ("signer", "s3:ListBucket"): f"{STORES}::test_a_list_has_many_pages",
    ("host", "secretsmanager:GetSecretValue"): ALONE,
    ("host", "kms:Decrypt"): ALONE,
    **{(actor, "kms:Decrypt"): STANDS for actor in ("master", "signer", "queue", "worker")},
    **{(actor, "kms:GenerateDataKey"): STANDS for actor in ("signer", "queue")},
}
# Their calls are noted by tests/infra/startup.
RECORDED = ("master", "queue", "worker")
ACCOUNT, REGION = "111122223333", "eu-west-1"
SECRET = f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:remora-lab"
PARAMETER = f"arn:aws:ssm:{REGION}:{ACCOUNT}:parameter/remora-lab"
KEY = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/11111111-2222-3333-4444-555555555555"
VALUES = {
    "partition": "aws",
    "account": ACCOUNT,
    "region": REGION,
    "installation": "lab",
    "data": "remora-lab-data-1",
    "code": "remora-lab-code-1",
    "logs": "remora-lab-logs-1",
    "releases": "remora-lab-releases-1",
    "key": KEY,
    "master_secret": f"{SECRET}-queue-AbCdEf",
    "groups": f"{PARAMETER}-groups-1",
    "group_secrets": f"{SECRET}-join-a-AbCdEf|{SECRET}-join-b-AbCdEf",
    "database_secret": f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:rds!db-0a1b-AbCdEf",
    "secrets": f"{SECRET}-state-AbCdEf|{SECRET}-queue-AbCdEf|{SECRET}-join-a-AbCdEf|{SECRET}-join-b-AbCdEf",
}
OURS = {"aws:ResourceTag/remora:installation": "lab"}
OTHERS = {"aws:ResourceTag/remora:installation": "other"}
VIA_S3 = {"kms:ViaService": f"s3.{REGION}.amazonaws.com"}
VIA_SECRETS = {"kms:ViaService": f"secretsmanager.{REGION}.amazonaws.com"}
GROUP = f"arn:aws:autoscaling:{REGION}:{ACCOUNT}:autoScalingGroup:u:autoScalingGroupName/remora-lab-m6i-1"
MACHINE = f"arn:aws:ec2:{REGION}:{ACCOUNT}:instance/i-0a"
# What a key has that nobody wrote a policy for: the account's own policies decide.
KEY_POLICY = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Allow",
            "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"},
            "Action": "kms:*",
            "Resource": "*",
        }
    ],
}
YES, NO = "Allowed", "ImplicitlyDenied"


def thing(store: str, key: str = "a/b") -> str:
    return f"arn:aws:s3:::{VALUES[store]}/{key}"


def bucket(store: str) -> str:
    return f"arn:aws:s3:::{VALUES[store]}"


Row = tuple[str, str, str, dict[str, str], str]
TABLE: list[Row] = [
    # The control plane: its own groups, and nothing else that can be changed in an account.
    ("master", "autoscaling:DescribeAutoScalingGroups", "*", {}, YES),
    ("master", "autoscaling:DescribeScalingActivities", "*", {}, YES),
    ("master", "ec2:DescribeInstances", "*", {}, YES),
    ("master", "autoscaling:SetDesiredCapacity", GROUP, OURS, YES),
    ("master", "autoscaling:SetDesiredCapacity", GROUP, OTHERS, NO),
    ("master", "autoscaling:SetDesiredCapacity", GROUP, {}, NO),
    ("master", "autoscaling:TerminateInstanceInAutoScalingGroup", GROUP, OURS, YES),
    ("master", "autoscaling:TerminateInstanceInAutoScalingGroup", GROUP, OTHERS, NO),
    ("master", "autoscaling:TerminateInstanceInAutoScalingGroup", GROUP, {}, NO),
    ("master", "autoscaling:UpdateAutoScalingGroup", GROUP, OURS, NO),
    ("master", "autoscaling:DeleteAutoScalingGroup", GROUP, OURS, NO),
    ("master", "ec2:TerminateInstances", MACHINE, OURS, NO),
    ("master", "ec2:TerminateInstances", MACHINE, {}, NO),
    ("master", "ec2:StopInstances", MACHINE, OURS, NO),
    ("master", "ec2:RunInstances", MACHINE, {}, NO),
    ("master", "secretsmanager:GetSecretValue", VALUES["master_secret"], {}, YES),
    ("master", "secretsmanager:GetSecretValue", f"{SECRET}-state-AbCdEf", {}, NO),
    ("master", "secretsmanager:GetSecretValue", f"{SECRET}-join-a-AbCdEf", {}, NO),
    ("master", "secretsmanager:PutSecretValue", VALUES["master_secret"], {}, NO),
    ("master", "kms:Decrypt", KEY, VIA_SECRETS, YES),
    ("master", "kms:Decrypt", KEY, VIA_S3, NO),
    ("master", "kms:Decrypt", KEY, {}, NO),
    ("master", "s3:GetObject", thing("data"), {}, NO),
    ("master", "s3:GetObject", thing("logs"), {}, NO),
    ("master", "iam:PassRole", f"arn:aws:iam::{ACCOUNT}:role/remora-lab-worker", {}, NO),
    # Whoever signs addresses: four buckets and their key.
    *[("signer", "s3:GetObject", thing(store), {}, YES) for store in ("data", "code", "logs", "releases")],
    *[("signer", "s3:PutObject", thing(store), {}, YES) for store in ("data", "code", "logs", "releases")],
    *[("signer", "s3:ListBucket", bucket(store), {}, YES) for store in ("data", "code", "logs", "releases")],
    ("signer", "s3:DeleteObject", thing("data"), {}, YES),
    ("signer", "s3:DeleteObject", thing("releases"), {}, NO),
    ("signer", "s3:DeleteObjectVersion", thing("data"), {}, NO),
    ("signer", "s3:DeleteBucket", bucket("data"), {}, NO),
    ("signer", "s3:PutBucketPolicy", bucket("data"), {}, NO),
    ("signer", "s3:PutLifecycleConfiguration", bucket("data"), {}, NO),
    ("signer", "s3:AbortMultipartUpload", thing("data"), {}, YES),
    ("signer", "s3:ListMultipartUploadParts", thing("data"), {}, NO),
    ("signer", "s3:GetObject", "arn:aws:s3:::remora-lab-data-10/a", {}, NO),
    ("signer", "s3:GetObject", "arn:aws:s3:::somebody-else/a", {}, NO),
    ("signer", "s3:PutObject", "arn:aws:s3:::somebody-else/a", {}, NO),
    ("signer", "s3:ListAllMyBuckets", "*", {}, NO),
    ("signer", "kms:GenerateDataKey", KEY, VIA_S3, YES),
    ("signer", "kms:Decrypt", KEY, VIA_S3, YES),
    ("signer", "kms:Decrypt", KEY, VIA_SECRETS, NO),
    ("signer", "kms:ScheduleKeyDeletion", KEY, {}, NO),
    ("signer", "secretsmanager:GetSecretValue", VALUES["master_secret"], {}, NO),
    ("signer", "autoscaling:SetDesiredCapacity", GROUP, OURS, NO),
    # The control plane's machine in the same account: besides master and signer, the database's password alone.
    ("host", "secretsmanager:GetSecretValue", VALUES["database_secret"], {}, YES),
    ("host", "secretsmanager:PutSecretValue", VALUES["database_secret"], {}, NO),
    ("host", "secretsmanager:GetSecretValue", f"{SECRET}-state-AbCdEf", {}, NO),
    ("host", "kms:Decrypt", KEY, VIA_SECRETS, YES),
    ("host", "kms:Decrypt", KEY, {}, NO),
    ("host", "rds:ModifyDBInstance", "*", {}, NO),
    # The queue's machine: the secrets of this installation.
    ("queue", "secretsmanager:PutSecretValue", VALUES["master_secret"], {}, YES),
    ("queue", "secretsmanager:PutSecretValue", f"{SECRET}-join-b-AbCdEf", {}, YES),
    ("queue", "secretsmanager:GetSecretValue", f"{SECRET}-state-AbCdEf", {}, YES),
    ("queue", "secretsmanager:DeleteSecret", VALUES["master_secret"], {}, NO),
    ("queue", "secretsmanager:GetSecretValue", f"{SECRET}2-queue-AbCdEf", {}, NO),
    ("queue", "ssm:GetParameter", f"{PARAMETER}-groups-1", {}, YES),
    ("queue", "ssm:GetParameter", f"{PARAMETER}-groups-10", {}, NO),
    ("queue", "ssm:PutParameter", f"{PARAMETER}-groups-1", {}, NO),
    ("queue", "kms:GenerateDataKey", KEY, VIA_SECRETS, YES),
    ("queue", "kms:GenerateDataKey", KEY, VIA_S3, NO),
    ("queue", "kms:Decrypt", KEY, VIA_SECRETS, YES),
    ("queue", "s3:GetObject", thing("data"), {}, NO),
    ("queue", "ec2:DescribeInstances", "*", {}, NO),
    # A worker: its credential and the agent's release. Data comes by signed addresses only.
    ("worker", "secretsmanager:GetSecretValue", f"{SECRET}-join-a-AbCdEf", {}, YES),
    ("worker", "secretsmanager:GetSecretValue", VALUES["master_secret"], {}, NO),
    ("worker", "secretsmanager:GetSecretValue", f"{SECRET}-state-AbCdEf", {}, NO),
    ("worker", "secretsmanager:PutSecretValue", f"{SECRET}-join-a-AbCdEf", {}, NO),
    ("worker", "s3:GetObject", thing("releases", "agent/0.1.0/manifest.json"), {}, YES),
    ("worker", "s3:PutObject", thing("releases"), {}, NO),
    ("worker", "s3:GetObject", thing("data"), {}, NO),
    ("worker", "s3:GetObject", thing("code"), {}, NO),
    ("worker", "s3:PutObject", thing("logs"), {}, NO),
    ("worker", "kms:Decrypt", KEY, VIA_SECRETS, YES),
    ("worker", "kms:Decrypt", KEY, {}, NO),
    ("worker", "autoscaling:SetInstanceProtection", GROUP, OURS, NO),
    ("worker", "ec2:DescribeInstances", "*", {}, NO),
    ("worker", "sts:AssumeRole", f"arn:aws:iam::{ACCOUNT}:role/remora-lab-master", {}, NO),
]
OUTSIDE = "444455556666"
MASTER = f"arn:aws:iam::{OUTSIDE}:role/remora-master"


def ask(rows: list[dict[str, Any]], folder: Any) -> list[str]:
    """The evaluator's words. It finds its packages beside itself."""
    shutil.copy(TOOLS / "iam-simulate" / "simulate.mjs", folder)
    (folder / "node_modules").symlink_to(IAM_SIMULATE)
    command = ["node", str(folder / "simulate.mjs")]
    done = subprocess.run(command, input=json.dumps(rows), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.security("I04", "I08", "I09")
def test_every_row_is_decided_as_the_table_says(tmp_path: Any) -> None:
    policies = {actor: aws_policy(actor, VALUES) for actor in ("master", "signer", "host", "queue", "worker")}
    rows = [
        {
            "policies": [policies[actor]],
            "principal": f"arn:aws:sts::{ACCOUNT}:assumed-role/remora-lab-{actor}/session",
            "account": ACCOUNT,
            "action": action,
            "resource": resource,
            "context": context,
            "resourcePolicy": KEY_POLICY if action.startswith("kms:") else None,
        }
        for actor, action, resource, context, _ in TABLE
    ]
    wrong = [
        f"{row[0]} {row[1]} {row[2]} {row[3]}: {said}, not {row[4]}"
        for row, said in zip(TABLE, ask(rows, tmp_path), strict=True)
        if said != row[4]
    ]
    assert not wrong, "\n".join(wrong)
    assert len(TABLE) >= 60


def test_every_permission_stands_in_the_table() -> None:
    asked = {(actor, action) for actor, action, _, _, said in TABLE if said == YES}
    assert {(row.actor, row.action) for row in AWS_ROWS} == asked


def test_every_permission_is_used_by_a_test() -> None:
    unseen = {(row.actor, row.action) for row in AWS_ROWS if row.cause != "call" or row.actor not in RECORDED}
    assert unseen == PROVED.keys()
    for place in set(PROVED.values()):
        file, _, name = place.partition("::")
        tests = {node.name for node in ast.parse((ROOT / file).read_text()).body if isinstance(node, ast.FunctionDef)}
        assert name in tests, place


@pytest.mark.security("I08")
@pytest.mark.parametrize(
    ("principal", "context", "said"),
    [
        (MASTER, {"sts:ExternalId": "0123456789abcdef"}, YES),
        (MASTER, {"sts:ExternalId": "another"}, NO),
        (MASTER, {}, NO),
        (f"arn:aws:iam::{OUTSIDE}:role/somebody", {"sts:ExternalId": "0123456789abcdef"}, NO),
    ],
)
def test_the_control_planes_roles_are_taken_on_by_name_only(
    principal: str, context: dict[str, str], said: str, tmp_path: Any
) -> None:
    may_ask = {"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": "*"}
    row = {
        "policies": [{"Version": "2012-10-17", "Statement": [may_ask]}],
        "resourcePolicy": aws_trust([MASTER], "0123456789abcdef"),
        "principal": principal,
        "account": ACCOUNT,
        "action": "sts:AssumeRole",
        "resource": f"arn:aws:iam::{ACCOUNT}:role/remora-lab-master",
        "context": context,
    }
    assert ask([row], tmp_path) == [said]


def test_machines_roles_are_for_machines_only() -> None:
    assert aws_machine_trust("aws")["Statement"][0]["Principal"] == {"Service": "ec2.amazonaws.com"}
    assert aws_machine_trust("aws-cn")["Statement"][0]["Principal"] == {"Service": "ec2.amazonaws.com.cn"}


@pytest.mark.security("I07", "I09")
def test_nothing_is_allowed_on_everything() -> None:
    """`*` stands only with actions for which AWS knows no finer resource; no action is a pattern."""
    only_whole = {
        "autoscaling:DescribeAutoScalingGroups",
        "autoscaling:DescribeScalingActivities",
        "ec2:DescribeInstances",
    }
    for row in AWS_ROWS:
        assert "*" not in row.action
        assert row.on != ("*",) or row.action in only_whole


@pytest.mark.security("I04")
def test_no_condition_holds_where_its_key_is_missing() -> None:
    """An operator that is true of what has no such key would let a role at everything untagged."""
    policies = [aws_policy(actor, VALUES) for actor in ("master", "signer", "queue", "worker")]
    statements = [one for policy in [*policies, aws_trust([MASTER], "e" * 16)] for one in policy["Statement"]]
    used = {operator for one in statements for operator in one.get("Condition", {})}
    assert used == {"StringEquals"}
