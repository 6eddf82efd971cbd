"""A registry for the images of this installation: a tag stays what it was, and each image is scanned."""

from __future__ import annotations

import json

import pulumi
import pulumi_aws as aws

from infra.aws.account import Account
from infra.aws.component import AwsComponent
from infra.names import Labels

UNTAGGED_DAYS = 14


def untagged_go(days: int) -> str:
    """Policy of a repository: images that no tag names are removed after so many days. Pure."""
    selection = {"tagStatus": "untagged", "countType": "sinceImagePushed", "countUnit": "days", "countNumber": days}
    rule = {"rulePriority": 1, "description": "No tag", "selection": selection, "action": {"type": "expire"}}
    return json.dumps({"rules": [rule]})


class Registry(AwsComponent):
    """Outputs: `url` (of the repository). It holds images: destroy leaves it."""

    def __init__(self, account: Account, labels: Labels, key_arn: pulumi.Input[str]) -> None:
        super().__init__("Registry", "registry", account, labels)
        repository = aws.ecr.Repository(
            labels.name("images"),
            image_tag_mutability="IMMUTABLE",
            image_scanning_configuration={"scan_on_push": True},
            encryption_configurations=[{"encryption_type": "KMS", "kms_key": key_arn}],
            opts=self._child(keep=True),
        )
        aws.ecr.LifecyclePolicy(
            labels.name("images"),
            repository=repository.name,
            policy=untagged_go(UNTAGGED_DAYS),
            opts=self._child(keep=True),
        )
        self.url: pulumi.Output[str] = repository.repository_url
        self.register_outputs({"url": self.url})
