"""Every rule about a whole stack, on one that keeps it and on those that break it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from infra.policies.resource import Resource
from infra.policies.stack_rules import BESIDE, BUCKET, GROUP, INGRESS, STACK_RULES, TEMPLATE, stack_violations

NAME = "remora-lab-data-0a1b2c3"
BLOCK, ENCRYPTION, VERSIONING, POLICY, LIFECYCLE = (kind for kind, _, _ in BESIDE)
KMS = {"sseAlgorithm": "aws:kms", "kmsMasterKeyId": "arn:aws:kms:::key/1"}
DENY = {
    "Effect": "Deny",
    "Principal": "*",
    "Action": "s3:*",
    "Resource": [f"arn:aws:s3:::{NAME}", f"arn:aws:s3:::{NAME}/*"],
    "Condition": {"Bool": {"aws:SecureTransport": "false"}},
}
ENDS = {"status": "Enabled", "abortIncompleteMultipartUpload": {"daysAfterInitiation": 7}}


def part(kind: str, called: str = "data", **inputs: Any) -> Resource:
    return Resource(kind, called, inputs)


def store(bucket: str = NAME, **other: Resource | None) -> list[Resource]:
    """A bucket and what belongs beside it; `other` takes a part's place, or None takes it away."""
    whole: dict[str, Resource | None] = {
        "bucket": part(BUCKET, bucket=NAME),
        "block": part(BLOCK, bucket=bucket),
        "encryption": part(ENCRYPTION, bucket=bucket, rules=[{"applyServerSideEncryptionByDefault": KMS}]),
        "versioning": part(VERSIONING, bucket=bucket, versioningConfiguration={"status": "Enabled"}),
        "policy": part(POLICY, bucket=bucket, policy=json.dumps({"Statement": [DENY]})),
        "lifecycle": part(LIFECYCLE, bucket=bucket, rules=[ENDS]),
    }
    return [one for one in {**whole, **other}.values() if one is not None]


def template(*groups: str) -> Resource:
    return part(TEMPLATE, "workers", vpcSecurityGroupIds=list(groups))


def ingress(**inputs: Any) -> Resource:
    return part(INGRESS, "way-in", **{"securityGroupId": "sg-queue", "fromPort": 7379, "toPort": 7379, **inputs})


def group(name: str, slug: str = "") -> Resource:
    tags = [{"key": "remora:group", "value": slug, "propagateAtLaunch": True}] if slug else []
    return part(GROUP, name, name=f"remora-lab-{name}-0a1b2c3", tags=tags)


def loose(policy: dict[str, Any]) -> Resource:
    return part(POLICY, bucket=NAME, policy=json.dumps({"Statement": [policy]}))


WHOLE = [
    *store(),
    template("sg-workers"),
    ingress(cidrIpv4="203.0.113.7/32"),
    ingress(referencedSecurityGroupId="sg-workers"),
    group("a", "a"),
    group("b", "b"),
]
BROKEN: list[tuple[str, str, list[Resource]]] = [
    ("whole-stores", "has no public access block", store(block=None)),
    ("whole-stores", "has no public access block", store(block=part(BLOCK, bucket="another"))),
    ("whole-stores", "is not encrypted with a key of KMS", store(encryption=None)),
    (
        "whole-stores",
        "is not encrypted with a key of KMS",
        store(
            encryption=part(
                ENCRYPTION, bucket=NAME, rules=[{"applyServerSideEncryptionByDefault": {"sseAlgorithm": "AES256"}}]
            )
        ),
    ),
    (
        "whole-stores",
        "keeps no versions of what is overwritten",
        store(versioning=part(VERSIONING, bucket=NAME, versioningConfiguration={"status": "Suspended"})),
    ),
    ("whole-stores", "answers without TLS", store(policy=None)),
    ("whole-stores", "answers without TLS", store(policy=loose({**DENY, "Effect": "Allow"}))),
    ("whole-stores", "answers without TLS", store(policy=loose({**DENY, "Action": "s3:GetObject"}))),
    ("whole-stores", "answers without TLS", store(policy=loose({**DENY, "Principal": {"AWS": "arn:aws:iam::1:root"}}))),
    ("whole-stores", "keeps parts of uploads that never ended", store(lifecycle=None)),
    (
        "closed-workers",
        "is in a security group that lets others in",
        [template("sg-queue"), ingress(cidrIpv4="1.2.3.4/32")],
    ),
    ("closed-workers", "has no security group of its own", [template()]),
    ("known-callers", "does not say who comes in", [ingress()]),
    ("known-callers", "opens more than one port", [ingress(cidrIpv4="1.2.3.4/32", toPort=9999)]),
    ("known-callers", "opens more than one port", [ingress(cidrIpv4="1.2.3.4/32", ipProtocol="-1")]),
    ("own-names", f"has the name {NAME}", [part(BUCKET, "two", bucket=NAME), *store()]),
    ("one-group-each", "is worker group a, as another one is", [group("one", "a"), group("two", "a")]),
    ("one-group-each", "has no tag remora:group", [group("one")]),
]


def test_a_whole_stack_passes() -> None:
    assert stack_violations(WHOLE) == []


@pytest.mark.parametrize(("rule", "says", "stack"), BROKEN)
def test_a_bad_stack_is_found(rule: str, says: str, stack: list[Resource]) -> None:
    found = stack_violations(stack)
    assert {one.rule for one in found} == {rule}
    assert any(says in one.sentence for one in found), found


def test_every_rule_is_broken_once_here() -> None:
    assert {rule for rule, _, _ in BROKEN} == {rule.name for rule in STACK_RULES}
    said = {says for _, says, _ in BROKEN}
    assert {sentence for _, _, sentence in BESIDE} <= said
