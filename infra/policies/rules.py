"""The rules. Each looks at one resource and gives back sentences of what is wrong with it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from infra.names import INSTALLATION_TAG, PART_TAG, REDIRECT_TAG
from infra.policies.resource import Resource

Check = Callable[[Resource], list[str]]

MACHINES = ("aws:ec2/instance:Instance", "aws:ec2/launchTemplate:LaunchTemplate")
DATABASE = "aws:rds/instance:Instance"
REGISTRY = "aws:ecr/repository:Repository"
HOLDS_DATA = ("aws:s3/bucket:Bucket", "aws:kms/key:Key", DATABASE, REGISTRY)
GROUP = "aws:autoscaling/group:Group"
TAGGED = (
    *MACHINES,
    *HOLDS_DATA,
    "aws:ec2/vpc:Vpc",
    "aws:ec2/subnet:Subnet",
    "aws:ec2/securityGroup:SecurityGroup",
    "aws:ec2/eip:Eip",
    "aws:ec2/networkInterface:NetworkInterface",
    "aws:iam/role:Role",
    "aws:secretsmanager/secret:Secret",
    "aws:ssm/parameter:Parameter",
    "aws:lb/loadBalancer:LoadBalancer",
    "aws:eks/cluster:Cluster",
)
NAME_KEYS = ("name", "bucket", "identifier", "clusterIdentifier")
# Names that AWS takes once in an account or in the world; Pulumi's own letters make them differ.
UNIQUE_NAMES = (GROUP, *HOLDS_DATA, *MACHINES[1:], "aws:iam/role:Role", "aws:secretsmanager/secret:Secret")
AUTOMATIC = re.compile(r"-[0-9a-f]{7}$")
# Their names end so; names of secrets and keys, ARNs and ids, are called otherwise.
SECRET_KEY = re.compile(r"(?i)(password|passphrase|secretString|secretBinary|privateKey|secretKey|token)$")
EVERYWHERE = ("0.0.0.0/0", "::/0")
HTTPS = (443, 443)
HTTP = (80, 80)
# Policies of balancers that take TLS 1.2 and newer only.
TLS = re.compile(r"ELBSecurityPolicy-TLS13-1-[23]-.+")


@dataclass(frozen=True)
class Rule:
    """`name` is stable: people refer to it."""

    name: str
    what: str
    check: Check


@dataclass(frozen=True)
class Violation:
    """A rule that a resource breaks."""

    rule: str
    resource: str
    sentence: str


def _tags(resource: Resource) -> list[str]:
    if resource.kind == GROUP:
        found = {tag.get("key") for tag in resource.parts("tags") if tag.get("propagateAtLaunch")}
    elif resource.kind in TAGGED:
        found = {*resource.part("tags"), *resource.part("tagsAll")}
    else:
        return []
    return [] if INSTALLATION_TAG in found else [f"has no tag {INSTALLATION_TAG}"]


def _nothing_public(resource: Resource) -> list[str]:
    said = []
    if resource.kind == "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule":
        world = resource.text("cidrIpv4") in EVERYWHERE or resource.text("cidrIpv6") in EVERYWHERE
        ports = (resource.inputs.get("fromPort"), resource.inputs.get("toPort"))
        # Who comes by plain HTTP is sent on, and nothing else: see the rule for balancers.
        sent_on = ports == HTTP and REDIRECT_TAG in resource.part("tags")
        if world and ports != HTTPS and not sent_on:
            said.append("lets the whole world in to another port than 443")
    if resource.kind == "aws:ec2/securityGroup:SecurityGroup" and resource.parts("ingress"):
        said.append("has rules inside it, where this policy can't see who they are for")
    if resource.kind == "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock":
        wanted = ("blockPublicAcls", "blockPublicPolicy", "ignorePublicAcls", "restrictPublicBuckets")
        said += [f"{key} is not set" for key in wanted if resource.inputs.get(key) is not True]
    if resource.kind == DATABASE and resource.inputs.get("publiclyAccessible") is not False:
        said.append("may be reached from the internet")
    return said


def _encrypted(resource: Resource) -> list[str]:
    disks: list[Mapping[str, Any]] = []
    if resource.kind == "aws:ec2/launchTemplate:LaunchTemplate":
        disks = [mapping.get("ebs", {}) for mapping in resource.parts("blockDeviceMappings")] or [{}]
    if resource.kind == "aws:ec2/instance:Instance":
        disks = [resource.part("rootBlockDevice"), *resource.parts("ebsBlockDevices")]
    if resource.kind == DATABASE:
        disks = [{"encrypted": resource.inputs.get("storageEncrypted")}]
    said = ["has a disk that is not encrypted" for disk in disks if str(disk.get("encrypted")).lower() != "true"]
    if resource.kind == "aws:secretsmanager/secret:Secret" and not resource.inputs.get("kmsKeyId"):
        said.append("is not encrypted with the installation's key")
    if resource.kind == REGISTRY and not any(one.get("kmsKey") for one in resource.parts("encryptionConfigurations")):
        said.append("is not encrypted with the installation's key")
    return said


def _metadata_by_token(resource: Resource) -> list[str]:
    if resource.kind not in MACHINES:
        return []
    options = resource.part("metadataOptions")
    said = [] if options.get("httpTokens") == "required" else ["answers for metadata without a token (IMDSv1)"]
    if options.get("httpPutResponseHopLimit") != 1:
        said.append("lets containers reach its metadata (hop limit is not 1)")
    return said


def _protected(resource: Resource) -> list[str]:
    if resource.kind not in HOLDS_DATA:
        return []
    said = [] if resource.protect and resource.retain else ["holds data and would go with `destroy`"]
    if resource.kind == DATABASE and resource.inputs.get("deletionProtection") is not True:
        said.append("can be deleted in the console")
    if resource.kind == DATABASE and resource.inputs.get("skipFinalSnapshot") is not False:
        said.append("would be deleted without a last snapshot")
    return said


def _backed_up(resource: Resource) -> list[str]:
    if resource.kind != DATABASE:
        return []
    days = resource.inputs.get("backupRetentionPeriod")
    return [] if isinstance(days, int | float) and days >= 1 else ["can't be set back to an earlier moment"]


def _tls(resource: Resource) -> list[str]:
    if resource.kind == "aws:rds/parameterGroup:ParameterGroup":
        forced = any(
            one.get("name") == "rds.force_ssl" and one.get("value") == "1" for one in resource.parts("parameters")
        )
        return [] if forced else ["lets a database answer without TLS"]
    if resource.kind == "aws:lb/targetGroup:TargetGroup" and resource.text("protocol") != "HTTPS":
        return ["goes on to machines without TLS"]
    if resource.kind != "aws:lb/listener:Listener":
        return []
    if resource.text("protocol") == "HTTPS":
        return [] if TLS.fullmatch(resource.text("sslPolicy")) else ["takes versions of TLS that are broken"]
    sent_on = [one.get("redirect", {}).get("protocol") == "HTTPS" for one in resource.parts("defaultActions")]
    return [] if sent_on and all(sent_on) else ["answers without TLS"]


def _images(resource: Resource) -> list[str]:
    if resource.kind != REGISTRY:
        return []
    said = [] if resource.text("imageTagMutability") == "IMMUTABLE" else ["lets a tag name another image later"]
    if resource.part("imageScanningConfiguration").get("scanOnPush") is not True:
        said.append("does not scan its images")
    return said


def _no_size(resource: Resource) -> list[str]:
    # The control plane's own machines are so many as the program says, and are replaced.
    if resource.kind != GROUP or any(tag.get("key") == PART_TAG for tag in resource.parts("tags")):
        return []
    said = ["sets how many machines there are"] if resource.inputs.get("desiredCapacity") is not None else []
    suspended = resource.inputs.get("suspendedProcesses") or []
    said += [f"does not suspend {name}" for name in ("AZRebalance", "ReplaceUnhealthy") if name not in suspended]
    return said


def _no_secret_value(resource: Resource) -> list[str]:
    if resource.kind == "aws:secretsmanager/secretVersion:SecretVersion" or resource.kind.startswith("random:"):
        return ["puts a secret's value into the state of the stack"]
    if resource.kind == DATABASE and resource.inputs.get("password"):
        return ["has its password in the state of the stack; manageMasterUserPassword keeps it out"]
    return []


def _marked(resource: Resource) -> list[str]:
    found = sorted(set(_plain_secrets(resource.inputs)))
    return [f"has {path} in plain text in the state: mark it as a secret" for path in found]


def _plain_secrets(value: object, path: str = "") -> Iterator[str]:
    """Paths of texts that are called as secrets are. In a state, what is marked is an object with a signature."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _plain_secrets(inner, f"{path}.{key}".lstrip("."))
    elif isinstance(value, list):
        for inner in value:
            yield from _plain_secrets(inner, path)
    elif isinstance(value, str) and value and SECRET_KEY.search(path.rpartition(".")[2]):
        yield path


def _no_fixed_name(resource: Resource) -> list[str]:
    if resource.kind not in UNIQUE_NAMES:
        return []
    fixed = [resource.text(key) for key in NAME_KEYS if resource.text(key) and not AUTOMATIC.search(resource.text(key))]
    return [f"is always called {name}: a second installation would collide" for name in fixed]


def _narrow(resource: Resource) -> list[str]:
    said = []
    for key in ("policy", "assumeRolePolicy"):
        for statement in resource.document(key).get("Statement", []):
            if statement.get("Effect") != "Allow":
                continue
            actions, resources = list_of(statement.get("Action")), list_of(statement.get("Resource"))
            if any("*" in action for action in actions):
                said.append(f"allows {', '.join(actions)}: name each action")
            if "iam:PassRole" in actions and ("*" in resources or "Condition" not in statement):
                said.append("passes any role to any service")
    return said


def _no_lasting_key(resource: Resource) -> list[str]:
    if resource.kind in ("aws:iam/accessKey:AccessKey", "aws:iam/user:User"):
        return ["is a login that never ends: let a role be taken on instead"]
    return []


def list_of(value: object) -> list[str]:
    """What a policy may write as one text or as a list of them. Pure."""
    return [value] if isinstance(value, str) else list(value) if isinstance(value, list) else []


RULES: tuple[Rule, ...] = (
    Rule("tags", "everything carries the installation's tag", _tags),
    Rule("nothing-public", "nothing is open to the world but HTTPS", _nothing_public),
    Rule("encrypted", "disks, databases and secrets are encrypted", _encrypted),
    Rule("metadata-by-token", "machines answer for metadata by token, one hop", _metadata_by_token),
    Rule("protected", "what holds data is protected and stays", _protected),
    Rule("backed-up", "databases can be set back to an earlier moment", _backed_up),
    Rule("tls", "balancers and databases answer by TLS only", _tls),
    Rule("images", "a registry's tags stay what they were, and its images are scanned", _images),
    Rule("no-size", "no program says how many workers there are", _no_size),
    Rule("no-secret-value", "no secret's value is in the state", _no_secret_value),
    Rule("marked", "secrets are marked in the state", _marked),
    Rule("no-fixed-name", "two installations never collide", _no_fixed_name),
    Rule("narrow", "roles may do named things only", _narrow),
    Rule("no-lasting-key", "nobody has a key that never ends", _no_lasting_key),
)


def violations(resources: Iterable[Resource]) -> list[Violation]:
    """What breaks a rule, in the order of the resources."""
    return [
        Violation(rule.name, resource.name, f"{resource.name} {sentence}.")
        for resource in resources
        for rule in RULES
        for sentence in rule.check(resource)
    ]
