"""Permissions that were needed at moto, beside those that a policy gives: both ways."""

from __future__ import annotations

from collections.abc import Iterable

from infra.permissions import Row

# What may be asked without being allowed.
FREE = {
    "sts:GetCallerIdentity": "AWS answers everybody who has a key",
    "iam:GetUser": "the provider's first way to learn the account's number; refused, it asks STS",
    "ec2:GetInstanceUefiData": "the provider's data source of images; refused, it leaves the field empty",
}


def differences(used: Iterable[str], rows: Iterable[Row], excused: Iterable[str]) -> list[str]:
    """Sentences: what was needed and is not allowed; what is allowed for a call that nobody made, unless excused."""
    rows, needed = list(rows), set(used) - FREE.keys()
    allowed, called = {row.action for row in rows}, {row.action for row in rows if row.cause == "call"}
    return [
        *(f"{action} is needed and not allowed" for action in sorted(needed - allowed)),
        *(f"{action} is allowed and was never needed" for action in sorted(called - needed - set(excused))),
        *(f"{action} was needed: it needs no excuse" for action in sorted(set(excused) & needed)),
        *(f"{action} is excused and not allowed" for action in sorted(set(excused) - allowed)),
    ]
