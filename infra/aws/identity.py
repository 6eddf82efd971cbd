"""Roles: the control plane's, the signer's, the queue machine's and the workers', each with its generated policy."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_aws as aws

from infra.aws.account import Account
from infra.aws.component import AwsComponent
from infra.aws.secrets import Secrets
from infra.aws.stores import PURPOSES, Stores
from infra.names import Labels
from infra.permissions import Actor, aws_machine_trust, aws_policy, aws_trust


@dataclass(frozen=True)
class Trust:
    """Who takes the control plane's roles on; nobody: it stands in this installation, on machines with a role.

    `boundary`: ARN of a policy that bounds every role, or empty.
    """

    principals: list[str]
    external_id: str
    boundary: str = ""


class Identity(AwsComponent):
    """Outputs: `master_role`, `signer_role` (ARNs), `queue_profile`, `worker_profile` (names).

    Without an outside there are no roles to take on: they are empty, and `host` is what the control plane's machines
    are.
    """

    def __init__(self, account: Account, labels: Labels, stores: Stores, secrets: Secrets, trust: Trust) -> None:
        super().__init__("Identity", "identity", account, labels)
        self._account, self._trust = account, trust
        self._values = self._gathered(stores, secrets)
        machine = aws_machine_trust(account.partition)
        self.host: aws.iam.Role | None = None
        self.master_role = self.signer_role = pulumi.Output.from_input("")
        if trust.principals:
            outside = aws_trust(trust.principals, trust.external_id)
            self.master_role = self._role("master", outside).arn
            self.signer_role = self._role("signer", outside).arn
        else:
            self.host = self._role("master", machine)
            self._allow(self.host, "signer")
        self.queue_profile = self._profile("queue", self._role("queue", machine))
        self.worker_profile = self._profile("worker", self._role("worker", machine))
        self.register_outputs({"masterRole": self.master_role, "signerRole": self.signer_role})

    def host_profile(self, database_secret: pulumi.Output[str]) -> pulumi.Output[str]:
        """Name of the profile of the control plane's machines, which may also read the database's password."""
        assert self.host is not None, "the control plane of this installation is elsewhere"
        self._allow(self.host, "host", database_secret=database_secret)
        return self._profile("master", self.host)

    def _gathered(self, stores: Stores, secrets: Secrets) -> pulumi.Output[dict[str, str]]:
        fixed = {
            "partition": self._account.partition,
            "account": self._account.id,
            "region": self._account.region,
            "installation": self._labels.installation,
        }
        lists = pulumi.Output.all(
            groups=pulumi.Output.all(*secrets.groups.values()),
            every=pulumi.Output.all(secrets.state, secrets.master, *secrets.groups.values()),
        )
        joined = lists.apply(lambda found: {name: "|".join(arns) for name, arns in found.items()})
        return pulumi.Output.all(
            **fixed,
            **{purpose: stores.buckets[purpose] for purpose in PURPOSES},
            key=stores.key_arn,
            master_secret=secrets.master,
            groups=secrets.list,
            joined=joined,
        ).apply(
            lambda found: {**found, "group_secrets": found["joined"]["groups"], "secrets": found["joined"]["every"]}
        )

    def _role(self, actor: Actor, trust: dict[str, Any]) -> aws.iam.Role:
        role = aws.iam.Role(
            self._labels.name(actor),
            assume_role_policy=json.dumps(trust),
            permissions_boundary=self._trust.boundary or None,
            opts=self._child(),
        )
        self._allow(role, actor)
        return role

    def _allow(self, role: aws.iam.Role, actor: Actor, **more: pulumi.Output[str]) -> None:
        known = pulumi.Output.all(values=self._values, more=more)
        policy = known.apply(lambda found: json.dumps(aws_policy(actor, {**found["values"], **found["more"]})))
        aws.iam.RolePolicy(self._labels.name(actor), role=role.id, policy=policy, opts=self._child())

    def _profile(self, actor: Actor, role: aws.iam.Role) -> pulumi.Output[str]:
        profile = aws.iam.InstanceProfile(self._labels.name(actor), role=role.name, opts=self._child())
        return profile.name
