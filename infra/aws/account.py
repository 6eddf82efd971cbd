"""The account and region that an installation stands in, and what they offer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_aws as aws

from infra.names import Labels


class RefusedError(Exception):
    """The account can't hold this installation. `problems`: key of the configuration to a sentence with the remedy."""

    def __init__(self, problems: dict[str, str]) -> None:
        self.problems = problems
        super().__init__("\n".join(f"{key}: {sentence}" for key, sentence in problems.items()))


GET_TYPE = "aws:ec2/getInstanceType:getInstanceType"
ROOT_DEVICE = "/dev/xvda"
IMAGE_OWNERS = {"debian-12": "136693071363", "ubuntu-24.04": "099720109477"}
IMAGE_NAMES = {
    "debian-12": "debian-12-{arch}-*",
    "ubuntu-24.04": "ubuntu/images/hvm-ssd-gp3/ubuntu-noble-24.04-{arch}-server-*",
}
# The spelling of the images' names by that of AWS.
ARCHITECTURES = {"x86_64": "amd64", "arm64": "arm64"}


@dataclass(frozen=True)
class MachineType:
    """What AWS says of an instance type. `gpu`: such as `1 x NVIDIA T4`, or empty."""

    name: str
    architecture: str
    gpu: str
    zones: frozenset[str]


@dataclass(frozen=True)
class Image:
    """`root_device`: under which name a machine's disk is made; Debian's and Ubuntu's differ."""

    id: str
    root_device: str


class Account:
    """Reads the account through one provider whose default tags are the installation's."""

    def __init__(self, region: str, labels: Labels) -> None:
        self.region = region
        self.provider = aws.Provider(
            labels.name("aws"), region=region, default_tags=aws.ProviderDefaultTagsArgs(tags=labels.tags())
        )
        self._options = pulumi.InvokeOptions(provider=self.provider)
        self.id = aws.get_caller_identity(opts=self._options).account_id
        self.partition = aws.get_partition(opts=self._options).partition

    def zones(self) -> list[str]:
        """Availability zones, in order; local and wavelength zones are left out."""
        found = aws.get_availability_zones(
            state="available",
            filters=[aws.GetAvailabilityZonesFilterArgs(name="opt-in-status", values=["opt-in-not-required"])],
            opts=self._options,
        )
        return sorted(found.names)

    def zone_of(self, subnet: str) -> str:
        """The zone that a subnet is in."""
        return aws.ec2.get_subnet(id=subnet, opts=self._options).availability_zone

    def machine_type(self, name: str) -> MachineType | None:
        """The type, or None where this region does not offer it."""
        offered = aws.ec2.get_instance_type_offerings(
            location_type="availability-zone",
            filters=[aws.ec2.GetInstanceTypeOfferingsFilterArgs(name="instance-type", values=[name])],
            opts=self._options,
        )
        if not offered.locations:
            return None
        # Asked in the raw: the SDK's own class refuses a clock speed that is a whole number.
        asked = pulumi.runtime.invoke(GET_TYPE, {"instanceType": name}, self._options)
        found: dict[str, Any] = asked.value or {}
        architecture = "arm64" if "arm64" in found.get("supportedArchitectures", ()) else "x86_64"
        gpus = ", ".join(f"{gpu['count']} x {gpu['manufacturer']} {gpu['name']}" for gpu in found.get("gpuses") or ())
        return MachineType(name, architecture, gpus, frozenset(offered.locations))

    def image(self, wanted: str, architecture: str) -> Image:
        """The image that `wanted` names: one of IMAGE_NAMES, or an id. Raises RefusedError."""
        if wanted.startswith("ami-"):
            found = aws.ec2.get_ami_ids(
                owners=["self", "amazon", "aws-marketplace", *IMAGE_OWNERS.values()],
                filters=[aws.ec2.GetAmiIdsFilterArgs(name="image-id", values=[wanted])],
                opts=self._options,
            )
        else:
            pattern = IMAGE_NAMES[wanted].format(arch=ARCHITECTURES[architecture])
            found = aws.ec2.get_ami_ids(
                owners=[IMAGE_OWNERS[wanted]],
                filters=[
                    aws.ec2.GetAmiIdsFilterArgs(name="name", values=[pattern]),
                    aws.ec2.GetAmiIdsFilterArgs(name="architecture", values=[architecture]),
                ],
                opts=self._options,
            )
        if not found.ids:
            raise RefusedError(
                {"image": f"{wanted} ({architecture}) is not in {self.region}: name an image's id of this region."}
            )
        newest = found.ids[0]
        by_id = [aws.ec2.GetAmiFilterArgs(name="image-id", values=[newest])]
        return Image(newest, aws.ec2.get_ami(filters=by_id, opts=self._options).root_device_name or ROOT_DEVICE)


def offered_types(account: Account, wanted: Sequence[tuple[str, str]]) -> dict[str, MachineType]:
    """The types of (key of the configuration, type), by name. Raises RefusedError with all that are not offered."""
    found = {name: account.machine_type(name) for name in dict.fromkeys(name for _, name in wanted)}
    problems = {
        key: f"{name} is not offered in {account.region}: choose another type, or another region."
        for key, name in wanted
        if found[name] is None
    }
    if problems:
        raise RefusedError(problems)
    return {name: kind for name, kind in found.items() if kind is not None}
