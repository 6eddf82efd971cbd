"""Security groups: nothing comes in to a worker; to the queue only workers and the control plane."""

from __future__ import annotations

from collections.abc import Sequence

import pulumi
import pulumi_aws as aws

from infra.aws.account import Account
from infra.aws.component import AwsComponent
from infra.aws.network import EVERYWHERE, Network
from infra.names import Labels

QUEUE_PORT = 7379


class Firewall(AwsComponent):
    """Outputs: `workers`, `queue` (ids of security groups)."""

    def __init__(self, account: Account, labels: Labels, network: Network, master: Sequence[str]) -> None:
        super().__init__("Firewall", "firewall", account, labels)
        self.workers = self._group("workers", "Remora workers: nothing comes in", network)
        self.queue = self._group("queue", "Remora queue: workers and the control plane come in", network)
        self._let_in("queue-workers", referenced_security_group_id=self.workers)
        for number, addresses in enumerate(master):
            self._let_in(f"queue-master-{number}", cidr_ipv4=addresses)
        self.register_outputs({"workers": self.workers, "queue": self.queue})

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
        cidr_ipv4: str | None = None,
        referenced_security_group_id: pulumi.Input[str] | None = None,
    ) -> None:
        aws.vpc.SecurityGroupIngressRule(
            self._labels.name(part),
            security_group_id=self.queue,
            ip_protocol="tcp",
            from_port=QUEUE_PORT,
            to_port=QUEUE_PORT,
            cidr_ipv4=cidr_ipv4,
            referenced_security_group_id=referenced_security_group_id,
            opts=self._child(),
        )
