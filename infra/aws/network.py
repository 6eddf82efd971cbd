"""Network: a VPC with a subnet in each zone, or parts of an existing one. Nothing may come in to a worker."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass, field

import pulumi
import pulumi_aws as aws

from infra.aws.account import Account, RefusedError
from infra.aws.component import AwsComponent
from infra.names import Labels

MAX_ZONES = 3
EVERYWHERE = "0.0.0.0/0"


@dataclass(frozen=True)
class NetworkWish:
    """What is made (`cidr`, `nat`) and what exists already. `nat`: machines have private addresses only."""

    cidr: str
    nat: bool = False
    vpc_id: str = ""
    subnet_ids: Sequence[str] = field(default_factory=tuple)


def subnet_cidrs(cidr: str, zones: int) -> tuple[list[str], list[str]]:
    """Networks of the machines' subnets, a quarter of `cidr` each, and small public ones of the last quarter. Pure."""
    quarters = list(ipaddress.IPv4Network(cidr).subnets(prefixlen_diff=2))
    public = list(quarters[3].subnets(prefixlen_diff=2))
    return [str(one) for one in quarters[:zones]], [str(one) for one in public[:zones]]


class Network(AwsComponent):
    """Outputs are the same whether parts were made or existed: `vpc_id`, `subnet_ids`, `public_subnet_ids`."""

    def __init__(self, account: Account, labels: Labels, wish: NetworkWish) -> None:
        super().__init__("Network", "network", account, labels)
        self._account = account
        self.zones = account.zones()[:MAX_ZONES]
        vpc = self._vpc(wish)
        self.vpc_id: pulumi.Output[str] = pulumi.Output.from_input(vpc.id)
        if wish.subnet_ids:
            self.subnet_ids = self.public_subnet_ids = self._existing_subnets(wish)
        else:
            self.subnet_ids, self.public_subnet_ids = self._subnets(wish, vpc)
        self.register_outputs({"vpcId": self.vpc_id, "subnetIds": self.subnet_ids})

    def _vpc(self, wish: NetworkWish) -> aws.ec2.Vpc:
        if wish.vpc_id:
            return aws.ec2.Vpc.get(self._labels.name("vpc"), wish.vpc_id, opts=self._child())
        return aws.ec2.Vpc(
            self._labels.name("vpc"),
            cidr_block=wish.cidr,
            enable_dns_hostnames=True,
            enable_dns_support=True,
            tags={"Name": self._labels.name("vpc")},
            opts=self._child(),
        )

    def _existing_subnets(self, wish: NetworkWish) -> list[pulumi.Output[str]]:
        options = pulumi.InvokeOptions(provider=self._account.provider)
        for number, subnet in enumerate(wish.subnet_ids):
            found = aws.ec2.get_subnet(id=subnet, opts=options)
            if found.vpc_id != wish.vpc_id:
                sentence = f"{subnet} belongs to {found.vpc_id}, not to {wish.vpc_id}."
                raise RefusedError({f"network.subnet_ids[{number}]": sentence})
        return [pulumi.Output.from_input(subnet) for subnet in wish.subnet_ids]

    def _subnets(
        self, wish: NetworkWish, vpc: aws.ec2.Vpc
    ) -> tuple[list[pulumi.Output[str]], list[pulumi.Output[str]]]:
        if wish.vpc_id:
            message = f"Subnets in {wish.vpc_id} are not made: name existing ones in subnet_ids."
            raise RefusedError({"network.subnet_ids": message})
        private, public = subnet_cidrs(wish.cidr, len(self.zones))
        gateway = aws.ec2.InternetGateway(self._labels.name("internet"), vpc_id=vpc.id, opts=self._child())
        outward = self._routes("public", vpc, gateway_id=gateway.id)
        if not wish.nat:
            made = [self._subnet("workers", i, cidr, vpc, outward, public=True) for i, cidr in enumerate(private)]
            self._storage_endpoint(vpc, outward)
            return made, made
        shown = [self._subnet("public", i, cidr, vpc, outward, public=True) for i, cidr in enumerate(public)]
        address = aws.ec2.Eip(self._labels.name("nat"), domain="vpc", opts=self._child(after=[gateway]))
        nat = aws.ec2.NatGateway(
            self._labels.name("nat"), allocation_id=address.id, subnet_id=shown[0], opts=self._child(after=[gateway])
        )
        inward = self._routes("private", vpc, nat_gateway_id=nat.id)
        made = [self._subnet("workers", i, cidr, vpc, inward, public=False) for i, cidr in enumerate(private)]
        self._storage_endpoint(vpc, inward)
        return made, shown

    def _routes(self, part: str, vpc: aws.ec2.Vpc, **target: pulumi.Output[str]) -> aws.ec2.RouteTable:
        table = aws.ec2.RouteTable(
            self._labels.name(part), vpc_id=vpc.id, tags={"Name": self._labels.name(part)}, opts=self._child()
        )
        aws.ec2.Route(
            self._labels.name(f"{part}-out"),
            route_table_id=table.id,
            destination_cidr_block=EVERYWHERE,
            opts=self._child(),
            **target,
        )
        return table

    def _subnet(
        self, part: str, number: int, cidr: str, vpc: aws.ec2.Vpc, table: aws.ec2.RouteTable, *, public: bool
    ) -> pulumi.Output[str]:
        name = self._labels.name(f"{part}-{number}")
        subnet = aws.ec2.Subnet(
            name,
            vpc_id=vpc.id,
            cidr_block=cidr,
            availability_zone=self.zones[number],
            map_public_ip_on_launch=public,
            tags={"Name": name},
            opts=self._child(),
        )
        aws.ec2.RouteTableAssociation(name, subnet_id=subnet.id, route_table_id=table.id, opts=self._child())
        return subnet.id

    def _storage_endpoint(self, vpc: aws.ec2.Vpc, table: aws.ec2.RouteTable) -> None:
        """Inputs and outputs reach S3 without leaving AWS's network, and cost no NAT."""
        aws.ec2.VpcEndpoint(
            self._labels.name("s3"),
            vpc_id=vpc.id,
            service_name=f"com.amazonaws.{self._account.region}.s3",
            vpc_endpoint_type="Gateway",
            route_table_ids=[table.id],
            opts=self._child(),
        )
