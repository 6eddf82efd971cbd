"""The control plane's machines, and the load balancer that people reach them by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from infra.aws.account import Account, Image
from infra.aws.component import AwsComponent
from infra.aws.firewall import HTTP_PORT, HTTPS_PORT, MASTER_PORT
from infra.aws.network import Network
from infra.names import PART_TAG, Labels

# TLS 1.2 and 1.3, with forward secrecy.
TLS_POLICY = "ELBSecurityPolicy-TLS13-1-2-2021-06"
# Answers 200 as soon as the process and its database do.
READY_PATH = "/readyz"
PART = "control-plane"
# AWS's limit on the prefix of a name of these kinds; the rest of the name are letters of its own.
NAME_PREFIX = "remora"
# Longer than a machine itself waits until it gives up: its own last words come first.
BOOT_SECONDS = 1500
DRAIN_SECONDS = 60
# Longer than the pause between two signs of life of a live log.
IDLE_SECONDS = 120


@dataclass(frozen=True)
class BalancerWish:
    """`inside`: it has private addresses only. `certificate`: ARN of one in ACM."""

    certificate: str
    inside: bool
    security_group: pulumi.Input[str]


class Balancer(AwsComponent):
    """TLS ends here and begins anew towards the machines. Outputs: `address` (its name), `targets` (ARN)."""

    def __init__(self, account: Account, labels: Labels, network: Network, wish: BalancerWish) -> None:
        super().__init__("Balancer", "balancer", account, labels)
        balancer = aws.lb.LoadBalancer(
            labels.name("balancer"),
            name_prefix=NAME_PREFIX,
            load_balancer_type="application",
            internal=wish.inside,
            subnets=network.subnet_ids if wish.inside else network.public_subnet_ids,
            security_groups=[wish.security_group],
            drop_invalid_header_fields=True,
            idle_timeout=IDLE_SECONDS,
            # People's DNS names it: it must not go by a slip in the console.
            enable_deletion_protection=True,
            opts=self._child(),
        )
        targets = self._targets(network)
        self._listeners(balancer, targets, wish.certificate)
        self.address: pulumi.Output[str] = balancer.dns_name
        self.targets: pulumi.Output[str] = targets.arn
        self.register_outputs({"address": self.address})

    def _targets(self, network: Network) -> aws.lb.TargetGroup:
        return aws.lb.TargetGroup(
            self._labels.name("master"),
            name_prefix=NAME_PREFIX,
            vpc_id=network.vpc_id,
            protocol="HTTPS",
            port=MASTER_PORT,
            deregistration_delay=DRAIN_SECONDS,
            health_check={"protocol": "HTTPS", "path": READY_PATH, "matcher": "200", "interval": 15, "timeout": 5},
            opts=self._child(),
        )

    def _listeners(self, balancer: aws.lb.LoadBalancer, targets: aws.lb.TargetGroup, certificate: str) -> None:
        aws.lb.Listener(
            self._labels.name("https"),
            load_balancer_arn=balancer.arn,
            protocol="HTTPS",
            port=HTTPS_PORT,
            ssl_policy=TLS_POLICY,
            certificate_arn=certificate,
            default_actions=[{"type": "forward", "target_group_arn": targets.arn}],
            opts=self._child(),
        )
        aws.lb.Listener(
            self._labels.name("http"),
            load_balancer_arn=balancer.arn,
            protocol="HTTP",
            port=HTTP_PORT,
            default_actions=[
                {
                    "type": "redirect",
                    "redirect": {"protocol": "HTTPS", "port": str(HTTPS_PORT), "status_code": "HTTP_301"},
                }
            ],
            opts=self._child(),
        )


@dataclass(frozen=True)
class MasterWish:
    """`user_data`: base64, without a secret. `targets`: ARN of the balancer's target group."""

    machine_type: str
    image: Image
    replicas: int
    subnet_ids: Sequence[pulumi.Input[str]]
    security_group: pulumi.Input[str]
    profile: pulumi.Input[str]
    targets: pulumi.Input[str]
    user_data: pulumi.Input[str]
    disk_gb: int = 50


class Master(AwsComponent):
    """The machines: all alike, without data of their own. A new script or image replaces them one after the other."""

    def __init__(self, account: Account, labels: Labels, wish: MasterWish) -> None:
        super().__init__("Master", "master", account, labels)
        template = self._template(wish)
        group = aws.autoscaling.Group(
            labels.name("master"),
            min_size=wish.replicas,
            max_size=wish.replicas + 1,
            desired_capacity=wish.replicas,
            vpc_zone_identifiers=list(wish.subnet_ids),
            launch_template={"id": template.id, "version": template.latest_version.apply(str)},
            target_group_arns=[wish.targets],
            # Who does not answer on the ready path is replaced.
            health_check_type="ELB",
            health_check_grace_period=BOOT_SECONDS,
            wait_for_capacity_timeout="0",
            instance_refresh={
                "strategy": "Rolling",
                # A new one answers before an old one goes; when it does not, all stays as it was.
                "preferences": {
                    "min_healthy_percentage": 100,
                    "max_healthy_percentage": 200,
                    "instance_warmup": str(DRAIN_SECONDS),
                    "auto_rollback": True,
                },
            },
            tags=[
                {"key": key, "value": value, "propagate_at_launch": True}
                for key, value in labels.tags(part=PART).items()
            ],
            opts=self._child(),
        )
        self.group: pulumi.Output[str] = group.name
        self.register_outputs({"group": self.group})

    def _template(self, wish: MasterWish) -> aws.ec2.LaunchTemplate:
        tags = {**self._labels.tags(part=PART), "Name": self._labels.name("master")}
        return aws.ec2.LaunchTemplate(
            self._labels.name("master"),
            image_id=wish.image.id,
            instance_type=wish.machine_type,
            user_data=wish.user_data,
            update_default_version=True,
            iam_instance_profile={"name": wish.profile},
            instance_initiated_shutdown_behavior="terminate",
            metadata_options={"http_tokens": "required", "http_endpoint": "enabled", "http_put_response_hop_limit": 1},
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
            tags={PART_TAG: PART},
            opts=self._child(),
        )
