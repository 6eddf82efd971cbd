"""Places for secrets in Secrets Manager: made empty here, filled by the queue's machine."""

from __future__ import annotations

import json

import pulumi
import pulumi_aws as aws

from infra.aws.account import Account
from infra.aws.component import AwsComponent
from infra.names import Labels


class Secrets(AwsComponent):
    """Outputs, all ARNs: `state`, `master`, `groups` (by slug), `list`; and `list_name`. No secret's value is here.

    `state` keeps the queue's authority for the machine that replaces it, `master` is what the control plane reads,
    `groups` hold the join credentials. `list` is a parameter that names these groups and secrets: the queue's machine
    reads it again and again, and writes what a new group needs.
    """

    def __init__(self, account: Account, labels: Labels, slugs: list[str], key_arn: pulumi.Input[str]) -> None:
        super().__init__("Secrets", "secrets", account, labels)
        self._key_arn = key_arn
        self.state = self._secret("queue-state", "authority and passwords of the queue").arn
        self.master = self._secret("queue", "how the control plane reaches the queue").arn
        joins = {slug: self._secret(f"join-{slug}", f"lets a machine ask to join {slug}") for slug in slugs}
        self.groups = {slug: secret.arn for slug, secret in joins.items()}
        listed = self._list(pulumi.Output.all(**{slug: secret.name for slug, secret in joins.items()}))
        self.list, self.list_name = listed.arn, listed.name
        self.register_outputs({"master": self.master, "groups": self.groups})

    def _list(self, names: pulumi.Output[dict[str, str]]) -> aws.ssm.Parameter:
        return aws.ssm.Parameter(
            self._labels.name("groups"),
            type="String",
            description=f"Remora {self._labels.installation}: worker groups and the secrets of their credentials",
            insecure_value=names.apply(lambda found: json.dumps(found, sort_keys=True)),
            opts=self._child(),
        )

    def _secret(self, part: str, what: str) -> aws.secretsmanager.Secret:
        return aws.secretsmanager.Secret(
            self._labels.name(part),
            description=f"Remora {self._labels.installation}: {what}",
            kms_key_id=self._key_arn,
            # What opens a queue is worth nothing once the queue is gone.
            recovery_window_in_days=0,
            opts=self._child(),
        )
