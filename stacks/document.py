"""The installation document of what was built: the one thing that the control plane gets to see."""

from __future__ import annotations

from typing import Any

import pulumi

from infra.aws.account import Account
from infra.aws.stores import PURPOSES
from infra.installation import InstallationDocument
from infra.names import Labels
from stacks.config.aws import AwsGroup, AwsInstallation
from stacks.on_aws import Leader, WorkersSide


def aws_document(
    account: Account, labels: Labels, settings: AwsInstallation, leader: Leader, side: WorkersSide
) -> pulumi.Output[dict[str, Any]]:
    """The document; secrets in it are addresses in Secrets Manager."""
    places = pulumi.Output.all(
        address=side.queue.address,
        secret=side.secrets.master,
        master=side.identity.master_role,
        signer=side.identity.signer_role,
        key=side.stores.key_arn,
        buckets=pulumi.Output.all(**side.stores.buckets),
        groups=pulumi.Output.all(**{slug: group.name for slug, group in side.groups.items()}),
        subnets=pulumi.Output.all(*side.network.subnet_ids),
    )

    def assemble(found: dict[str, Any]) -> dict[str, Any]:
        document = {
            "name": labels.installation,
            "flavour": labels.flavour,
            "provider": "aws",
            "access": {
                "provider": "aws",
                "region": account.region,
                "role": found["master"],
                "external_id": leader.external_id,
            },
            "queue": {
                "url": f"rediss://{found['address']}:{side.queue.port}/0",
                **{part: f"aws:{found['secret']}#{part}" for part in ("password", "ca", "certificate", "key")},
            },
            "stores": [_store(purpose, account, leader, found) for purpose in PURPOSES],
            "groups": [_group(group, account, side, found) for group in settings.groups],
        }
        # What can't be imported must not be exported.
        return InstallationDocument.model_validate(document).model_dump(mode="json")

    return places.apply(assemble)


def _store(purpose: str, account: Account, leader: Leader, found: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": purpose,
        "purpose": purpose,
        "kind": "s3",
        "location": found["buckets"][purpose],
        "options": {
            "region": account.region,
            "role_arn": found["signer"],
            "external_id": leader.external_id,
            "kms_key_arn": found["key"],
        },
    }


def _group(asked: AwsGroup, account: Account, side: WorkersSide, found: dict[str, Any]) -> dict[str, Any]:
    machine = side.found.types[asked.type]
    return {
        "slug": asked.slug,
        "name": f"{asked.type}{' spot' if asked.market == 'spot' else ''}, {account.region}",
        "region": account.region,
        "instance_type": asked.type,
        "gpu_spec": machine.gpu,
        "scale_min": 0,
        "scale_max": asked.max,
        "join_secret": f"aws:{found['secret']}#join_secret.{asked.slug}",
        "settings": {"group": found["groups"][asked.slug], "market": asked.market, "ceiling": asked.max},
    }
