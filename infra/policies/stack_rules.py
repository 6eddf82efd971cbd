"""Rules about a whole stack: what must stand beside a resource, what must not meet. Each gives back what is wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from infra.names import GROUP_TAG
from infra.policies.resource import Resource
from infra.policies.rules import GROUP, NAME_KEYS, UNIQUE_NAMES, Violation, list_of

Found = tuple[Resource, str]
StackCheck = Callable[[Sequence[Resource]], Iterable[Found]]

BUCKET = "aws:s3/bucket:Bucket"
TEMPLATE = "aws:ec2/launchTemplate:LaunchTemplate"
INGRESS = "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule"
ADDRESSES = ("cidrIpv4", "cidrIpv6", "referencedSecurityGroupId", "prefixListId")


@dataclass(frozen=True)
class StackRule:
    """`name` is stable: people refer to it."""

    name: str
    what: str
    check: StackCheck


def _blocked(part: Resource) -> bool:
    # What it blocks is looked at by the rules about one resource.
    return True


def _encrypted(part: Resource) -> bool:
    defaults = [rule.get("applyServerSideEncryptionByDefault") or {} for rule in part.parts("rules")]
    return any(one.get("sseAlgorithm") == "aws:kms" and one.get("kmsMasterKeyId") for one in defaults)


def _versioned(part: Resource) -> bool:
    return part.part("versioningConfiguration").get("status") == "Enabled"


def _tls_only(part: Resource) -> bool:
    for statement in part.document("policy").get("Statement", []):
        secure = statement.get("Condition", {}).get("Bool", {}).get("aws:SecureTransport")
        covers = {"s3:*", "*"} & set(list_of(statement.get("Action"))) and statement.get("Principal") in (
            "*",
            {"AWS": "*"},
        )
        if statement.get("Effect") == "Deny" and covers and str(secure).lower() == "false":
            return True
    return False


def _gives_up_uploads(part: Resource) -> bool:
    return any(
        rule.get("status") == "Enabled" and rule.get("abortIncompleteMultipartUpload") for rule in part.parts("rules")
    )


# What stands beside each bucket, and what is said where none is so.
BESIDE: tuple[tuple[str, Callable[[Resource], bool], str], ...] = (
    ("aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock", _blocked, "has no public access block"),
    (
        "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration",
        _encrypted,
        "is not encrypted with a key of KMS",
    ),
    ("aws:s3/bucketVersioning:BucketVersioning", _versioned, "keeps no versions of what is overwritten"),
    ("aws:s3/bucketPolicy:BucketPolicy", _tls_only, "answers without TLS"),
    (
        "aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration",
        _gives_up_uploads,
        "keeps parts of uploads that never ended",
    ),
)


def _whole_stores(resources: Sequence[Resource]) -> Iterator[Found]:
    for bucket in _of(resources, BUCKET):
        for kind, holds, sentence in BESIDE:
            own = (part for part in _of(resources, kind) if part.text("bucket") == bucket.text("bucket"))
            if not any(map(holds, own)):
                yield bucket, sentence


def _closed_workers(resources: Sequence[Resource]) -> Iterator[Found]:
    open_groups = {rule.text("securityGroupId") for rule in _of(resources, INGRESS)}
    for template in _of(resources, TEMPLATE):
        if not template.inputs.get("vpcSecurityGroupIds", True):
            yield template, "has no security group of its own: the network's default lets others in"
        if open_groups & set(list_of(template.inputs.get("vpcSecurityGroupIds"))):
            yield template, "is in a security group that lets others in"


def _known_callers(resources: Sequence[Resource]) -> Iterator[Found]:
    for rule in _of(resources, INGRESS):
        if not any(key in rule.inputs for key in ADDRESSES):
            yield rule, "does not say who comes in"
        if rule.text("ipProtocol") == "-1" or rule.inputs.get("fromPort") != rule.inputs.get("toPort"):
            yield rule, "opens more than one port"


def _own_names(resources: Sequence[Resource]) -> Iterator[Found]:
    named = [(one, key, one.text(key)) for one in resources if one.kind in UNIQUE_NAMES for key in NAME_KEYS]
    times = Counter((one.kind, key, name.lower()) for one, key, name in named if name)
    for one, key, name in named:
        if times[one.kind, key, name.lower()] > 1:
            yield one, f"has the name {name}, as another one of this stack has"


def _one_group_each(resources: Sequence[Resource]) -> Iterator[Found]:
    slugs = [
        (group, tag.get("value"))
        for group in _of(resources, GROUP)
        for tag in group.parts("tags")
        if tag.get("key") == GROUP_TAG
    ]
    times = Counter(slug for _, slug in slugs)
    for group, slug in slugs:
        if times[slug] > 1:
            yield group, f"is worker group {slug}, as another one is: the control plane can't tell their machines apart"
    for group in _of(resources, GROUP):
        if group not in [one for one, _ in slugs]:
            yield group, f"has no tag {GROUP_TAG}"


def _of(resources: Sequence[Resource], kind: str) -> list[Resource]:
    return [one for one in resources if one.kind == kind]


STACK_RULES: tuple[StackRule, ...] = (
    StackRule(
        "whole-stores", "each bucket is private, encrypted, versioned, TLS only and rid of lost uploads", _whole_stores
    ),
    StackRule("closed-workers", "nothing comes in to a worker", _closed_workers),
    StackRule("known-callers", "whoever comes in is named, and comes to one port", _known_callers),
    StackRule("own-names", "no two resources have one name", _own_names),
    StackRule("one-group-each", "each worker group is one Auto Scaling group", _one_group_each),
)


def stack_violations(resources: Sequence[Resource]) -> list[Violation]:
    """What breaks a rule, rule by rule."""
    return [
        Violation(rule.name, one.name, f"{one.name} {sentence}.")
        for rule in STACK_RULES
        for one, sentence in rule.check(resources)
    ]
