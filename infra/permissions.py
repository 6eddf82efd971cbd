"""Every cloud call that our code makes or causes: by whom, on what, and why. Policies are generated from these rows.

Words in `on` and `where` in braces are filled in when a policy is rendered: {partition} {account} {region}
{installation} {data} {code} {logs} {releases} {key} {master_secret} {groups} {group_secrets} {secrets}
{database_secret}. Rows of whoever installs stand in installer_permissions.py.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

Actor = Literal["installer", "master", "signer", "host", "queue", "worker"]
# call: our code makes it; presign: we sign it, somebody else sends it; implied: the cloud checks it for another row.
Cause = Literal["call", "presign", "implied"]

TAGGED = {"StringEquals": {"aws:ResourceTag/remora:installation": "{installation}"}}
THROUGH_S3 = {"StringEquals": {"kms:ViaService": "s3.{region}.amazonaws.com"}}
THROUGH_SECRETS = {"StringEquals": {"kms:ViaService": "secretsmanager.{region}.amazonaws.com"}}
EVERY_BUCKET = ("data", "code", "logs", "releases")


@dataclass(frozen=True)
class Row:
    """One permission. `on`: ARN templates; `*` only where AWS knows no finer resource. `where`: conditions."""

    actor: Actor
    action: str
    on: tuple[str, ...]
    cause: Cause
    by: str
    why: str
    where: dict[str, dict[str, str]] = field(default_factory=dict)


def _objects(*stores: str) -> tuple[str, ...]:
    return tuple(f"arn:{{partition}}:s3:::{{{store}}}/*" for store in stores)


def _buckets(*stores: str) -> tuple[str, ...]:
    return tuple(f"arn:{{partition}}:s3:::{{{store}}}" for store in stores)


GROUPS = ("arn:{partition}:autoscaling:{region}:{account}:autoScalingGroup:*:autoScalingGroupName/*",)
KEY = ("{key}",)

AWS_ROWS: tuple[Row, ...] = (
    # The control plane: what stands in its groups, and how many.
    Row("master", "autoscaling:DescribeAutoScalingGroups", ("*",), "call", "scaling", "which machines a group has"),
    Row("master", "autoscaling:DescribeScalingActivities", ("*",), "call", "scaling", "why a machine did not come"),
    Row("master", "ec2:DescribeInstances", ("*",), "call", "scaling", "whether a silent machine still exists"),
    Row("master", "autoscaling:SetDesiredCapacity", GROUPS, "call", "scaling", "a machine for waiting work", TAGGED),
    Row(
        "master",
        "autoscaling:TerminateInstanceInAutoScalingGroup",
        GROUPS,
        "call",
        "scaling",
        "an idle or lost machine goes, and its place with it",
        TAGGED,
    ),
    Row(
        "master",
        "secretsmanager:GetSecretValue",
        ("{master_secret}",),
        "call",
        "environments",
        "password and certificate of the queue",
    ),
    Row("master", "kms:Decrypt", KEY, "implied", "secretsmanager", "the secret is encrypted", THROUGH_SECRETS),
    # Whoever signs addresses of objects: these buckets and their key, nothing else.
    Row(
        "signer", "s3:GetObject", _objects(*EVERY_BUCKET), "presign", "stores", "inputs, code, logs, releases are read"
    ),
    Row("signer", "s3:PutObject", _objects("data", "code", "logs"), "presign", "stores", "outputs, code, logs"),
    Row("signer", "s3:PutObject", _objects("releases"), "call", "releases", "a release of the agent is published"),
    Row("signer", "s3:DeleteObject", _objects("data", "code", "logs"), "call", "stores", "purge and retention"),
    Row("signer", "s3:AbortMultipartUpload", _objects("data", "logs"), "call", "stores", "an upload is given up"),
    Row("signer", "s3:ListBucket", _buckets(*EVERY_BUCKET), "call", "stores", "wildcards, adoption, a missing object"),
    Row("signer", "kms:GenerateDataKey", KEY, "implied", "s3", "what is written is encrypted", THROUGH_S3),
    Row("signer", "kms:Decrypt", KEY, "implied", "s3", "what is read is encrypted", THROUGH_S3),
    # A machine that the control plane stands on, in the same account: it is master and signer, and reads its password.
    Row("host", "secretsmanager:GetSecretValue", ("{database_secret}",), "call", "startup", "the database's password"),
    Row("host", "kms:Decrypt", KEY, "implied", "secretsmanager", "the password is encrypted", THROUGH_SECRETS),
    # The queue's machine makes passwords and certificates at its first boot, and what groups need that come later.
    Row("queue", "ssm:GetParameter", ("{groups}",), "call", "startup", "which worker groups there are"),
    Row(
        "queue", "secretsmanager:GetSecretValue", ("{secrets}",), "call", "startup", "a new machine keeps the old ones"
    ),
    Row("queue", "secretsmanager:PutSecretValue", ("{secrets}",), "call", "startup", "passwords and certificates"),
    Row("queue", "kms:GenerateDataKey", KEY, "implied", "secretsmanager", "secrets are encrypted", THROUGH_SECRETS),
    Row("queue", "kms:Decrypt", KEY, "implied", "secretsmanager", "secrets are encrypted", THROUGH_SECRETS),
    # A worker: its credential to join, and the agent's release.
    Row("worker", "secretsmanager:GetSecretValue", ("{group_secrets}",), "call", "startup", "the join credential"),
    Row("worker", "s3:GetObject", _objects("releases"), "call", "startup", "the agent's release"),
    Row("worker", "kms:Decrypt", KEY, "implied", "secretsmanager", "the credential is encrypted", THROUGH_SECRETS),
    Row("worker", "kms:Decrypt", KEY, "implied", "s3", "the release is encrypted", THROUGH_S3),
)


def aws_policy(actor: Actor, values: dict[str, str]) -> dict[str, Any]:
    """The policy of one of the roles that are made. Pure. Raises KeyError for a word without a value."""
    return policy_of((row for row in AWS_ROWS if row.actor == actor), values)


def policy_of(rows: Iterable[Row], values: dict[str, str]) -> dict[str, Any]:
    """A policy; `values` fill the words in braces, `a|b` in one of them gives one ARN each. Pure.

    Rows with the same resources and conditions share a statement. Raises KeyError for a word without a value.
    """
    statements: dict[str, dict[str, Any]] = {}
    for row in rows:
        resources = [arn for template in row.on for arn in template.format_map(values).split("|")]
        where = {
            kind: {key: value.format_map(values) for key, value in test.items()} for kind, test in row.where.items()
        }
        found = statements.setdefault(f"{resources}{where}", {"Effect": "Allow", "Action": [], "Resource": resources})
        found["Action"] = sorted({*found["Action"], row.action})
        if where:
            found["Condition"] = where
    return {"Version": "2012-10-17", "Statement": list(statements.values())}


def aws_trust(principals: list[str], external_id: str) -> dict[str, Any]:
    """Who may take a role on: these principals, when they name `external_id`. Pure."""
    statement = {
        "Effect": "Allow",
        "Principal": {"AWS": principals},
        "Action": "sts:AssumeRole",
        "Condition": {"StringEquals": {"sts:ExternalId": external_id}},
    }
    return {"Version": "2012-10-17", "Statement": [statement]}


def aws_machine_trust(partition: str) -> dict[str, Any]:
    """A role of machines. Pure."""
    trusted = {"Service": machine_service(partition)}
    statement = {"Effect": "Allow", "Principal": trusted, "Action": "sts:AssumeRole"}
    return {"Version": "2012-10-17", "Statement": [statement]}


def machine_service(partition: str) -> str:
    """The service whose machines take a role on. Pure."""
    return "ec2.amazonaws.com.cn" if partition == "aws-cn" else "ec2.amazonaws.com"
