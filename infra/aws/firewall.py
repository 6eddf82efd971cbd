"""Security groups: nothing comes in to a worker; to everything else only who has business there."""

from __future__ import annotations

from collections.abc import Sequence

import pulumi
import pulumi_aws as aws

from infra.aws.account import Account
from infra.aws.component import AwsComponent
from infra.aws.network import EVERYWHERE, Network
from infra.names import REDIRECT_TAG, Labels

QUEUE_PORT = 7379
MASTER_PORT = 8765
DATABASE_PORT = 5432
HTTPS_PORT = 443
HTTP_PORT = 80


class _Groups(AwsComponent):
    """Security groups and who may come in. `who`: a network, or the id of a security group."""

    def _group(self, part: str, what: str, network: Network) -> pulumi.Output[str]:
        name = self._labels.name(part)
        group = aws.ec2.SecurityGroup(
            name,
            description=what,
            vpc_id=network.vpc_id,
            egress=[{"protocol": "-1", "from_port": 0, "to_port": 0, "cidr_blocks": [EVERYWHERE]}],
            # Who may come in stands in rules of their own: written here as well, they would fight.
            opts=self._child(ignore=["ingress"]),
        )
        return group.id

    def _let_in(
        self,
        part: str,
        group: pulumi.Input[str],
        port: int,
        who: str | pulumi.Output[str],
        tags: dict[str, str] | None = None,
    ) -> None:
        aws.vpc.SecurityGroupIngressRule(
            self._labels.name(part),
            security_group_id=group,
            ip_protocol="tcp",
            from_port=port,
            to_port=port,
            cidr_ipv4=who if isinstance(who, str) else None,
            referenced_security_group_id=None if isinstance(who, str) else who,
            tags=tags,
            opts=self._child(),
        )


class Firewall(_Groups):
    """Outputs: `workers`, `queue` (ids of security groups). `master`: networks that the control plane comes from."""

    def __init__(self, account: Account, labels: Labels, network: Network, master: Sequence[str]) -> None:
        super().__init__("Firewall", "firewall", account, labels)
        self.workers = self._group("workers", "Remora workers: nothing comes in", network)
        self.queue = self._group("queue", "Remora queue: workers and the control plane come in", network)
        self._let_in("queue-workers", self.queue, QUEUE_PORT, self.workers)
        for number, addresses in enumerate(master):
            self._let_in(f"queue-master-{number}", self.queue, QUEUE_PORT, addresses)
        self.register_outputs({"workers": self.workers, "queue": self.queue})


class MasterFirewall(_Groups):
    """A control plane in the same network: people reach the balancer, it alone the machines, they alone the rest.

    `people`: networks. Outputs: `balancer`, `master`, `database` (ids of security groups).
    """

    def __init__(
        self,
        account: Account,
        labels: Labels,
        network: Network,
        queue: pulumi.Output[str],
        people: Sequence[str],
    ) -> None:
        super().__init__("MasterFirewall", "master-firewall", account, labels)
        self.balancer = self._group("balancer", "Remora load balancer: people come in", network)
        self.master = self._group("master", "Remora control plane: the load balancer comes in", network)
        self.database = self._group("database", "Remora database: the control plane comes in", network)
        for number, addresses in enumerate(people):
            self._let_in(f"https-{number}", self.balancer, HTTPS_PORT, addresses)
            self._let_in(f"http-{number}", self.balancer, HTTP_PORT, addresses, {REDIRECT_TAG: "https"})
        self._let_in("master-balancer", self.master, MASTER_PORT, self.balancer)
        self._let_in("database-master", self.database, DATABASE_PORT, self.master)
        self._let_in("queue-master", queue, QUEUE_PORT, self.master)
        self.register_outputs({"balancer": self.balancer, "master": self.master, "database": self.database})
