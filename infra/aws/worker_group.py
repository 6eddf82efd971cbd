"""A worker group: a launch template and an Auto Scaling group whose size the control plane alone decides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import pulumi
import pulumi_aws as aws

from infra.aws.account import Account, Image, MachineType
from infra.aws.component import AwsComponent
from infra.names import GROUP_TAG, Labels

# A machine that ends is for the control plane to notice; the group neither moves nor replaces machines by itself.
SUSPENDED = ("AZRebalance", "ReplaceUnhealthy")


@dataclass(frozen=True)
class GroupWish:
    """One group. `ceiling`: machines at most. `user_data`: base64, without a secret."""

    slug: str
    machine: MachineType
    ceiling: int
    market: Literal["on_demand", "spot"]
    disk_gb: int
    image: Image
    subnet_ids: Sequence[pulumi.Input[str]]
    security_group: pulumi.Input[str]
    profile: pulumi.Input[str]
    user_data: pulumi.Input[str]


class WorkerGroup(AwsComponent):
    """Output: `name` (of the Auto Scaling group)."""

    def __init__(self, account: Account, labels: Labels, wish: GroupWish) -> None:
        super().__init__("WorkerGroup", f"group-{wish.slug}", account, labels)
        template = self._template(wish)
        group = aws.autoscaling.Group(
            labels.name(wish.slug),
            min_size=0,
            max_size=wish.ceiling,
            vpc_zone_identifiers=list(wish.subnet_ids),
            # New machines take the newest script and image; the group itself is never changed by them.
            launch_template={"id": template.id, "version": "$Latest"},
            suspended_processes=list(SUSPENDED),
            protect_from_scale_in=True,
            health_check_type="EC2",
            wait_for_capacity_timeout="0",
            # Destroy has brought it to zero before; a straggler must not keep the group for ever.
            force_delete=True,
            tags=[
                {"key": key, "value": value, "propagate_at_launch": True}
                for key, value in labels.tags(group=wish.slug).items()
            ],
            # How many machines there are is never ours to say: not at first, not at any later `up`.
            opts=self._child(ignore=["desiredCapacity"]),
        )
        self.name: pulumi.Output[str] = group.name
        self.register_outputs({"name": self.name})

    def _template(self, wish: GroupWish) -> aws.ec2.LaunchTemplate:
        tags = {**self._labels.tags(group=wish.slug), "Name": self._labels.name(wish.slug)}
        return aws.ec2.LaunchTemplate(
            self._labels.name(wish.slug),
            image_id=wish.image.id,
            instance_type=wish.machine.name,
            user_data=wish.user_data,
            update_default_version=True,
            iam_instance_profile={"name": wish.profile},
            # A machine that powers itself off is gone, not stopped and paid for.
            instance_initiated_shutdown_behavior="terminate",
            metadata_options={"http_tokens": "required", "http_endpoint": "enabled", "http_put_response_hop_limit": 1},
            instance_market_options={"market_type": "spot"} if wish.market == "spot" else None,
            block_device_mappings=[
                {
                    "device_name": wish.image.root_device,
                    "ebs": {
                        "encrypted": "true",
                        "volume_size": wish.disk_gb,
                        "volume_type": "gp3",
                        "delete_on_termination": "true",
                    },
                }
            ],
            vpc_security_group_ids=[wish.security_group],
            tag_specifications=[{"resource_type": kind, "tags": tags} for kind in ("instance", "volume")],
            tags={GROUP_TAG: wish.slug},
            opts=self._child(),
        )
