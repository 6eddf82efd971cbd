"""The workers' queue: a machine with a Redis of its own, which makes its passwords and certificates by itself."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from infra.aws.account import Account
from infra.aws.component import AwsComponent
from infra.aws.firewall import QUEUE_PORT
from infra.names import Labels


@dataclass(frozen=True)
class QueueWish:
    """`user_data`: base64, without a secret."""

    machine_type: str
    image: str
    profile: pulumi.Input[str]
    user_data: pulumi.Input[str]
    disk_gb: int = 20


class QueueCard(AwsComponent):
    """The queue's place in the network: known before the machine is, kept when the machine is replaced.

    `public`: the control plane is outside of this network. Outputs: `interface` (id), `inner_address`, `address`.
    """

    def __init__(
        self,
        account: Account,
        labels: Labels,
        subnet_id: pulumi.Input[str],
        security_group: pulumi.Input[str],
        *,
        public: bool,
    ) -> None:
        super().__init__("QueueCard", "queue-card", account, labels)
        card = aws.ec2.NetworkInterface(
            labels.name("queue"),
            subnet_id=subnet_id,
            security_groups=[security_group],
            tags={"Name": labels.name("queue")},
            opts=self._child(),
        )
        self.interface = card.id
        self.inner_address: pulumi.Output[str] = card.private_ip
        self.address: pulumi.Output[str] = card.private_ip
        if public:
            address = aws.ec2.Eip(
                labels.name("queue"), domain="vpc", network_interface=card.id, opts=self._child(after=[card])
            )
            self.address = address.public_ip
        self.register_outputs({"address": self.address, "innerAddress": self.inner_address})


class Queue(AwsComponent):
    """The machine. Outputs: `inner_address` (workers come by it), `address` (the control plane), `port`."""

    def __init__(self, account: Account, labels: Labels, card: QueueCard, wish: QueueWish) -> None:
        super().__init__("Queue", "queue", account, labels)
        self.port = QUEUE_PORT
        self.inner_address, self.address = card.inner_address, card.address
        aws.ec2.Instance(
            labels.name("queue"),
            ami=wish.image,
            instance_type=wish.machine_type,
            iam_instance_profile=wish.profile,
            network_interfaces=[{"device_index": 0, "network_interface_id": card.interface}],
            user_data_base64=wish.user_data,
            metadata_options={"http_tokens": "required", "http_endpoint": "enabled", "http_put_response_hop_limit": 1},
            root_block_device={"encrypted": True, "volume_size": wish.disk_gb, "volume_type": "gp3"},
            tags={"Name": labels.name("queue")},
            volume_tags=labels.tags(),
            # A newer image or script is for the next machine: this one runs, and workers stand on it.
            opts=self._child(ignore=["ami", "userDataBase64"]),
        )
        self.register_outputs({"address": self.address, "innerAddress": self.inner_address})
