"""Checks of an AWS account, by calls that change nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

from infra.names import INSTALLATION_TAG
from stacks.config.aws import AwsInstallation
from stacks.wizard.checks import Check, Outcome, ProbeError, failed, passed, warned

MAX_SKEW_SECONDS = 120
# Quotas of running vCPUs by the first letters of a type, on demand and spot; codes as AWS's Service Quotas has them.
QUOTAS = {
    "on_demand": {"g": "L-DB2E81BA", "vt": "L-DB2E81BA", "p": "L-417A185B", "": "L-1216C47A"},
    "spot": {"g": "L-3819A6DF", "vt": "L-3819A6DF", "p": "L-7212CCBC", "": "L-34B43A08"},
}
VPCS = "L-F678F1CE"


class AwsWorld:
    """The account, as these credentials see it, and what is to stand in it."""

    def __init__(self, settings: AwsInstallation, client: Callable[..., Any] = boto3.client) -> None:
        self.settings = settings
        self._client = client
        self._config = Config(retries={"max_attempts": 2}, connect_timeout=5, read_timeout=15)

    def ask(self, service: str, call: str, **arguments: Any) -> dict[str, Any]:
        """One call. Raises ProbeError where it is refused or fails."""
        try:
            client = self._client(service, region_name=self.settings.region, config=self._config)
            return getattr(client, call)(**arguments)
        except (BotoCoreError, ClientError) as error:
            raise ProbeError(f"{service}:{call}: {error}") from error

    def vcpus(self, types: list[str]) -> dict[str, int]:
        """vCPUs of each type."""
        found = self.ask("ec2", "describe_instance_types", InstanceTypes=types)
        return {row["InstanceType"]: row["VCpuInfo"]["DefaultVCpus"] for row in found["InstanceTypes"]}

    def running(self) -> list[tuple[str, str]]:
        """(type, market) of each machine that runs or boots in this region."""
        filters = [{"Name": "instance-state-name", "Values": ["pending", "running"]}]
        found: list[tuple[str, str]] = []
        token: dict[str, str] = {}
        while True:
            page = self.ask("ec2", "describe_instances", Filters=filters, MaxResults=1000, **token)
            machines = [machine for row in page["Reservations"] for machine in row["Instances"]]
            found += [(one["InstanceType"], one.get("InstanceLifecycle", "on_demand")) for one in machines]
            if not page.get("NextToken"):
                return [(name, "spot" if market == "spot" else "on_demand") for name, market in found]
            token = {"NextToken": page["NextToken"]}

    def quota(self, code: str, service: str = "ec2") -> float:
        """The account's value of a quota."""
        found = self.ask("service-quotas", "get_service_quota", ServiceCode=service, QuotaCode=code)
        return float(found["Quota"]["Value"])


def family(machine_type: str) -> str:
    """Key of QUOTAS for a type: `g4dn.xlarge` is `g`, `m6i.large` the common one. Pure."""
    letters = "".join(letter for letter in machine_type.split(".")[0].split("-")[0] if letter.isalpha())
    return next((key for key in ("vt", "g", "p") if letters.startswith(key)), "")


def _identity(world: AwsWorld) -> Outcome:
    try:
        found = world.ask("sts", "get_caller_identity")
    except ProbeError as error:
        if isinstance(error.__cause__, NoCredentialsError | ClientError):
            return failed(str(error.__cause__))
        raise
    return passed(found["Arn"])


def _clock(world: AwsWorld) -> Outcome:
    found = world.ask("sts", "get_caller_identity")
    said = found["ResponseMetadata"]["HTTPHeaders"].get("date")
    if not said:
        raise ProbeError("AWS's answer has no date")
    skew = abs((datetime.now(UTC) - parsedate_to_datetime(said)).total_seconds())
    return passed(f"{skew:.0f} s apart") if skew <= MAX_SKEW_SECONDS else failed(f"{skew:.0f} s apart")


def _region(world: AwsWorld) -> Outcome:
    found = world.ask("ec2", "describe_regions", AllRegions=True)
    status = {row["RegionName"]: row.get("OptInStatus", "") for row in found["Regions"]}.get(world.settings.region)
    if status is None:
        return failed(f"there is no region {world.settings.region}")
    return failed("not switched on for this account") if status == "not-opted-in" else passed(world.settings.region)


def _types(world: AwsWorld) -> Outcome:
    wanted = {group.type for group in world.settings.groups} | {world.settings.queue_type}
    filters = [{"Name": "instance-type", "Values": sorted(wanted)}]
    found = world.ask("ec2", "describe_instance_type_offerings", LocationType="region", Filters=filters)
    missing = wanted - {row["InstanceType"] for row in found["InstanceTypeOfferings"]}
    return failed(f"not offered: {', '.join(sorted(missing))}") if missing else passed(", ".join(sorted(wanted)))


def _machines(world: AwsWorld) -> Outcome:
    """vCPUs that the groups may take, against what the quotas leave beside what runs already."""
    running = world.running()
    groups = world.settings.groups
    vcpus = world.vcpus(sorted({group.type for group in groups} | {name for name, _ in running}))
    wanted, used = Counter[str](), Counter[str]()
    for group in groups:
        wanted[QUOTAS[group.market][family(group.type)]] += vcpus[group.type] * group.max
    for name, market in running:
        used[QUOTAS[market][family(name)]] += vcpus[name]
    short = []
    for code, need in wanted.items():
        limit = world.quota(code)
        if need > limit - used[code]:
            short.append(f"{need} vCPUs of quota {code}: {limit:g}, of which {used[code]} are in use")
    return warned(f"the groups could want {'; '.join(short)}") if short else passed("the groups fit the quotas")


def _network(world: AwsWorld) -> Outcome:
    vpc = world.settings.network.vpc_id
    if vpc:
        found = world.ask("ec2", "describe_vpcs", Filters=[{"Name": "vpc-id", "Values": [vpc]}])
        return passed(vpc) if found["Vpcs"] else failed(f"{vpc} is not in this account and region")
    there = len(world.ask("ec2", "describe_vpcs")["Vpcs"])
    limit = world.quota(VPCS, "vpc")
    said = f"{there} of {limit:g} VPCs exist"
    return passed(said) if there < limit else failed(said)


def _permissions(world: AwsWorld) -> Outcome:
    try:
        # Nobody may make what doesn't carry the installation's tag: docs/reference/permissions.md.
        tags = [{"Key": INSTALLATION_TAG, "Value": world.settings.name}]
        specification = {"ResourceType": "internet-gateway", "Tags": tags}
        world.ask("ec2", "create_internet_gateway", DryRun=True, TagSpecifications=[specification])
    except ProbeError as error:
        cause = error.__cause__
        code = cause.response["Error"]["Code"] if isinstance(cause, ClientError) else ""
        if code == "DryRunOperation":
            return passed("may create networks")
        if code in ("UnauthorizedOperation", "AccessDenied"):
            return failed("may not create networks")
        raise
    return passed("may create networks")


AWS_CHECKS: tuple[Check[AwsWorld], ...] = (
    Check(
        "aws.identity", "credentials of AWS", _identity, "Sign in: `aws configure` or `aws sso login`, and try again."
    ),
    Check(
        "aws.clock", "the clock", _clock, "Set this machine's clock (NTP): AWS refuses what is signed at another time."
    ),
    Check("aws.region", "the region", _region, "Switch it on in the account's settings, or choose another region."),
    Check(
        "aws.types", "machine types", _types, "Choose types of this region: `aws ec2 describe-instance-type-offerings`."
    ),
    Check(
        "aws.quota",
        "quotas of machines",
        _machines,
        "Ask for more in Service Quotas, or lower max: else groups stop there.",
    ),
    Check("aws.network", "room for the network", _network, "Name an existing vpc_id, or ask for more VPCs per region."),
    Check(
        "aws.permissions",
        "permission to install",
        _permissions,
        "Use a role with the installer's policies: docs/reference/permissions.md.",
    ),
)
