"""Configuration of what stands in AWS."""

from __future__ import annotations

import ipaddress
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from stacks.config.base import Part
from stacks.config.common import Master, Name, Network

REGION = r"^[a-z]{2}(-[a-z]+)+-\d$"
CERTIFICATE = r"^arn:aws[a-z-]*:acm:[a-z0-9-]+:\d{12}:certificate/.+$"
DOMAIN = r"^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]{2,63}$"
INSTANCE_TYPE = r"^[a-z][a-z0-9-]*\.[a-z0-9-]+$"
IMAGES = ("debian-12", "ubuntu-24.04")
Market = Literal["on_demand", "spot"]
PRIVATE = [ipaddress.IPv4Network(one) for one in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10")]


class AwsNetwork(Part):
    """A network of its own, or parts that exist: what is named is used, the rest is made."""

    cidr: str = Field(default="10.87.0.0/16", description="addresses of a network that is made")
    vpc_id: str = Field(default="", pattern=r"^(vpc-[0-9a-f]+)?$", description="an existing VPC, such as vpc-0a1b2c3d")
    subnet_ids: list[str] = Field(default_factory=list, max_length=6, description="existing subnets of that VPC")
    avoid: list[str] = Field(default_factory=list, description="networks that the new one must not overlap")
    egress: Literal["direct", "nat"] = Field(
        default="direct",
        description="direct (public addresses, nothing may come in) or nat (private addresses, a NAT gateway)",
    )

    @field_validator("cidr")
    @classmethod
    def _size(cls, value: str) -> str:
        try:
            network = ipaddress.IPv4Network(value)
        except ValueError:
            raise ValueError(f"{value!r}: a network such as 10.87.0.0/16 is expected.") from None
        if not 16 <= network.prefixlen <= 22:
            raise ValueError(f"{value} does not fit: AWS and the subnets need a prefix between /16 and /22.")
        return value

    @field_validator("subnet_ids")
    @classmethod
    def _subnets(cls, values: list[str]) -> list[str]:
        for value in values:
            if not value.startswith("subnet-"):
                raise ValueError(f"{value!r}: a subnet's id such as subnet-0a1b2c3d is expected.")
        return values

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.subnet_ids and not self.vpc_id:
            raise ValueError("subnet_ids are given without vpc_id: name the VPC that they belong to.")
        own = ipaddress.IPv4Network(self.cidr)
        for other in self.avoid:
            if own.overlaps(ipaddress.IPv4Network(other)):
                raise ValueError(f"cidr {self.cidr} overlaps {other}: choose another, such as 10.142.0.0/16.")
        return self


class AwsGroup(Part):
    """A worker group: machines of one type."""

    type: str = Field(pattern=INSTANCE_TYPE, description="an instance type such as m6i.xlarge")
    max: int = Field(default=5, ge=1, le=1000, description="machines at most; the control plane never goes above it")
    market: Market = Field(default="on_demand", description="on_demand or spot")
    disk_gb: int = Field(default=100, ge=20, le=16_000, description="size of the machine's disk")

    @property
    def slug(self) -> str:
        """Its name in addresses: `m6i-xlarge`, `m6i-xlarge-spot`."""
        return self.type.replace(".", "-") + ("-spot" if self.market == "spot" else "")


class AwsInstallation(Part):
    """What both flavours in AWS are asked for."""

    name: Name = Field(description="the installation's name")
    region: str = Field(pattern=REGION, description="an AWS region such as eu-west-1")
    network: AwsNetwork = Field(default_factory=AwsNetwork)
    groups: list[AwsGroup] = Field(
        default_factory=lambda: [AwsGroup(type="m6i.xlarge", max=5, market="on_demand", disk_gb=100)],
        min_length=1,
        # What the list of them takes as a parameter of AWS.
        max_length=40,
    )
    image: str = Field(default="debian-12", description="debian-12, ubuntu-24.04 or an image's id such as ami-0a1b2c3d")
    queue_type: str = Field(
        default="t3.small", pattern=INSTANCE_TYPE, description="instance type of the queue's machine"
    )

    def named_types(self) -> list[tuple[str, str]]:
        """Key and instance type of everything that is a machine."""
        groups = [(f"groups[{number}].type", group.type) for number, group in enumerate(self.groups)]
        return [*groups, ("queue_type", self.queue_type)]

    @field_validator("image")
    @classmethod
    def _image(cls, value: str) -> str:
        if value not in IMAGES and not value.startswith("ami-"):
            raise ValueError(f"{value!r}: {', '.join(IMAGES)} or an image's id such as ami-0a1b2c3d is expected.")
        return value

    @field_validator("groups")
    @classmethod
    def _each_once(cls, values: list[AwsGroup]) -> list[AwsGroup]:
        slugs = [group.slug for group in values]
        for slug in slugs:
            if slugs.count(slug) > 1:
                raise ValueError(f"{slug} stands twice: raise max of one instead.")
        return values


class PrivateWorkerAws(AwsInstallation):
    """Machines, queue and data in the customer's account; the control plane is elsewhere."""

    master: Master = Field(description="what `remora server invite` printed on the control plane")

    @model_validator(mode="after")
    def _invited(self) -> Self:
        if not self.master.principal.startswith("arn:"):
            raise ValueError("master.principal is missing: `remora server invite --cloud aws` names the role's ARN.")
        if len(self.master.external_id) < 16:
            raise ValueError("master.external_id is missing: `remora server invite --cloud aws` makes one.")
        return self


class AwsDatabase(Part):
    """The control plane's PostgreSQL."""

    type: str = Field(
        default="db.t4g.medium", pattern=r"^db\.[a-z0-9-]+\.[a-z0-9]+$", description="such as db.t4g.medium"
    )
    storage_gb: int = Field(default=50, ge=20, le=16_000, description="size of its disk")
    two_zones: bool = Field(default=True, description="a standby in a second zone")
    backup_days: int = Field(default=14, ge=1, le=35, description="it can be set back to any moment of so many days")


class AwsControlPlane(Part):
    """The control plane: its name, its machines, and who reaches them."""

    domain: str = Field(pattern=DOMAIN, max_length=253, description="the dashboard's name, such as remora.example.com")
    certificate: str = Field(pattern=CERTIFICATE, description="ARN of a certificate in ACM for that name")
    release_keys: list[str] = Field(
        min_length=1, max_length=2, description="public keys that sign the releases that machines take, in base64"
    )
    allowed: list[Network] = Field(
        min_length=1,
        max_length=20,
        description="networks that people come from, such as 203.0.113.0/24; 0.0.0.0/0 is everybody. "
        "When all are private (10.0.0.0/8, …) so is the load balancer",
    )
    type: str = Field(default="m6i.large", pattern=INSTANCE_TYPE, description="instance type such as m6i.large")
    replicas: int = Field(default=2, ge=1, le=10, description="machines behind the load balancer")

    @property
    def is_inside(self) -> bool:
        """Whether people come from private networks only."""
        networks = [ipaddress.IPv4Network(one) for one in self.allowed]
        return all(any(one.subnet_of(private) for private in PRIVATE) for one in networks)

    @field_validator("allowed")
    @classmethod
    def _version_4(cls, values: list[str]) -> list[str]:
        for value in values:
            if ":" in value:
                raise ValueError(f"{value!r}: the load balancer has addresses of IPv4 only: name such networks.")
        return values


class SelfHostedAws(AwsInstallation):
    """All of it in one's own account."""

    control_plane: AwsControlPlane = Field(description="its name, its certificate, and who reaches it")
    database: AwsDatabase = Field(default_factory=AwsDatabase)

    def named_types(self) -> list[tuple[str, str]]:
        """See AwsInstallation."""
        return [*super().named_types(), ("control_plane.type", self.control_plane.type)]

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        place = self.control_plane.certificate.split(":")[3]
        if place != self.region:
            raise ValueError(
                f"control_plane.certificate is in {place}: a load balancer takes certificates of its own region, "
                f"{self.region}."
            )
        if len(self.network.subnet_ids) == 1:
            raise ValueError(
                "network.subnet_ids: the load balancer and the database need subnets in two zones: name another."
            )
        return self
