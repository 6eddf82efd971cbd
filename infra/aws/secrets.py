"""Places for secrets in Secrets Manager: made empty here, filled by the queue's machine at its first boot."""

from __future__ import annotations

import pulumi
import pulumi_aws as aws

from infra.aws.account import Account
from infra.aws.component import AwsComponent
from infra.names import Labels


class Secrets(AwsComponent):
    """Outputs, all ARNs: `state`, `master`, `groups` (by slug). No value is here: Pulumi knows addresses only.

    `state` keeps the queue's authority for the machine that replaces it, `master` is what the control plane reads,
    `groups` hold the join credentials.
    """

    def __init__(self, account: Account, labels: Labels, slugs: list[str], key_arn: pulumi.Input[str]) -> None:
        super().__init__("Secrets", "secrets", account, labels)
        self._key_arn = key_arn
        self.state = self._secret("queue-state", "authority and passwords of the queue")
        self.master = self._secret("queue", "how the control plane reaches the queue")
        self.groups = {slug: self._secret(f"join-{slug}", f"lets a machine ask to join {slug}") for slug in slugs}
        self.register_outputs({"master": self.master, "groups": self.groups})

    def _secret(self, part: str, what: str) -> pulumi.Output[str]:
        secret = aws.secretsmanager.Secret(
            self._labels.name(part),
            description=f"Remora {self._labels.installation}: {what}",
            kms_key_id=self._key_arn,
            # What opens a queue is worth nothing once the queue is gone.
            recovery_window_in_days=0,
            opts=self._child(),
        )
        return secret.arn
