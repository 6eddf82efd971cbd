"""Self-hosted in AWS: the workers' side, and the control plane with its database beside it, in one account."""

from __future__ import annotations

from typing import Any

import pulumi

from infra.aws.account import Account, RefusedError
from infra.aws.database import Database, DatabaseWish
from infra.aws.firewall import MasterFirewall
from infra.aws.master import Balancer, BalancerWish, Master, MasterWish
from infra.aws.registry import Registry
from infra.names import Labels
from stacks.config.aws import SelfHostedAws
from stacks.config.choice import Choice
from stacks.document import aws_document
from stacks.on_aws import Leader, WorkersSide, build_workers, refusals


def build(choice: Choice) -> pulumi.Output[dict[str, Any]]:
    """All of it; gives back the installation document. Raises ConfigError for what the account refuses.

    Further outputs: `balancer` (what the dashboard's name must lead to), `registry`.
    """
    settings: SelfHostedAws = choice.settings
    labels = Labels(settings.name, choice.flavour, choice.advanced.tags)
    account = Account(settings.region, labels)
    control_plane = settings.control_plane
    leader = Leader(
        dashboard=f"https://{control_plane.domain}",
        addresses=[],
        principals=[],
        external_id="",
        release_keys=tuple(control_plane.release_keys),
        outside=False,
    )
    with refusals(choice.flavour):
        _look_at_zones(account, settings.network.subnet_ids)
        side = build_workers(account, labels, settings, choice.advanced, leader)
    document = aws_document(account, labels, settings, leader, side)
    balancer = _build_master(account, labels, settings, side, document)
    pulumi.export("balancer", balancer.address)
    pulumi.export("registry", Registry(account, labels, side.stores.key_arn).url)
    return document


def _look_at_zones(account: Account, subnets: list[str]) -> None:
    zones = {account.zone_of(subnet) for subnet in subnets}
    if len(zones) == 1:
        sentence = f"All are in {zones.pop()}; the load balancer and the database need two zones: name another subnet."
        raise RefusedError({"network.subnet_ids": sentence})


def _build_master(
    account: Account,
    labels: Labels,
    settings: SelfHostedAws,
    side: WorkersSide,
    document: pulumi.Output[dict[str, Any]],
) -> Balancer:
    wish, subnets = settings.control_plane, side.network.subnet_ids
    firewall = MasterFirewall(account, labels, side.network, side.firewall.queue, wish.allowed)
    database = Database(
        account,
        labels,
        DatabaseWish(
            machine_type=settings.database.type,
            storage_gb=settings.database.storage_gb,
            backup_days=settings.database.backup_days,
            two_zones=settings.database.two_zones,
            subnet_ids=subnets,
            security_group=firewall.database,
            key_arn=side.stores.key_arn,
        ),
    )
    asked = BalancerWish(wish.certificate, wish.is_inside, firewall.balancer)
    balancer = Balancer(account, labels, side.network, asked)
    machine = side.found.types[wish.type]
    Master(
        account,
        labels,
        MasterWish(
            machine_type=wish.type,
            image=side.found.images[machine.architecture],
            replicas=wish.replicas,
            subnet_ids=subnets,
            security_group=firewall.master,
            profile=side.identity.host_profile(database.secret),
            targets=balancer.targets,
            user_data=side.scripts.master(wish.domain, database, side.stores, document),
        ),
    )
    return balancer
