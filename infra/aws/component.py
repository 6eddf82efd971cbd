"""What every component here has in common."""

from __future__ import annotations

import pulumi

from infra.aws.account import Account
from infra.names import Labels


class AwsComponent(pulumi.ComponentResource):
    """A group of resources that belong together; children name it as their parent and use the account's provider."""

    def __init__(self, kind: str, part: str, account: Account, labels: Labels) -> None:
        super().__init__(
            f"remora:aws:{kind}",
            labels.name(part),
            None,
            pulumi.ResourceOptions(providers={"aws": account.provider}),
        )
        self._labels = labels

    def _child(
        self,
        *,
        keep: bool = False,
        ignore: list[str] | None = None,
        after: list[pulumi.Resource] | None = None,
    ) -> pulumi.ResourceOptions:
        """Options of a child. `keep`: data is in it, destroy leaves it."""
        return pulumi.ResourceOptions(
            parent=self,
            protect=keep,
            retain_on_delete=keep,
            ignore_changes=ignore,
            depends_on=after,
        )
