"""Private workers: machines, queue, data and logs in the customer's account; the control plane is elsewhere."""

from __future__ import annotations

from typing import Any

import pulumi

from infra.aws.account import Account
from infra.names import Labels
from stacks.config.aws import PrivateWorkerAws
from stacks.config.choice import Choice
from stacks.document import aws_document
from stacks.flavours import Build
from stacks.on_aws import Leader, build_workers, refusals


def build_on_aws(choice: Choice) -> pulumi.Output[dict[str, Any]]:
    """All of it in AWS; gives back the installation document. Raises ConfigError for what the account refuses."""
    settings: PrivateWorkerAws = choice.settings
    labels = Labels(settings.name, choice.flavour, choice.advanced.tags)
    account = Account(settings.region, labels)
    master = settings.master
    leader = Leader(
        dashboard=master.dashboard,
        addresses=master.addresses,
        principals=[master.principal],
        external_id=master.external_id,
        release_keys=tuple(master.release_keys),
        outside=True,
    )
    with refusals(choice.flavour):
        side = build_workers(account, labels, settings, choice.advanced, leader)
    return aws_document(account, labels, settings, leader, side)


BUILDERS: dict[str, Build] = {"aws": build_on_aws}
