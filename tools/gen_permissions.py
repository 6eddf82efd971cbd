"""Writes docs/reference/permissions.md from the tables; with `--check` only says whether it is up to date."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from typing import Any

from generated import keep
from infra.installer_permissions import INSTALLER_ROWS, characters, installer_policies, installer_values
from infra.permissions import AWS_ROWS, Actor, Row, aws_machine_trust, aws_policy, aws_trust

ACCOUNT, REGION, NAME = "111122223333", "eu-west-1", "lab"
SECRET = f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:remora-{NAME}"
INSTALLER = installer_values("aws", ACCOUNT, REGION, NAME)
VALUES = {
    **INSTALLER,
    **{store: f"remora-{NAME}-{store}-0a1b2c3" for store in ("data", "code", "logs", "releases")},
    "key": f"arn:aws:kms:{REGION}:{ACCOUNT}:key/11111111-2222-3333-4444-555555555555",
    "master_secret": f"{SECRET}-queue-0a1b2c3-AbCdEf",
    "groups": f"arn:aws:ssm:{REGION}:{ACCOUNT}:parameter/remora-{NAME}-groups-0a1b2c3",
    "group_secrets": f"{SECRET}-join-m6i-xlarge-0a1b2c3-AbCdEf",
    "secrets": "|".join(f"{SECRET}-{part}-0a1b2c3-AbCdEf" for part in ("queue-state", "queue", "join-m6i-xlarge")),
}
HEAD = f"""\
# Permissions in AWS

What an installation may do in an account: the policy of whoever installs, and the four roles that installing makes.
They are shown for the account `{ACCOUNT}`, the region `{REGION}` and an installation called `{NAME}`; put your own
words in their place.

`call`: Remora makes this call. `presign`: Remora signs an address with it, a worker or a browser uses it. `implied`:
AWS looks for it while another call is made.

This page is generated from `infra/installer_permissions.py` and `infra/permissions.py`; tests note which calls are made
and compare them with these tables, both ways."""
INSTALL = """\
## Whoever installs

For `remora install`, `remora destroy` and `pulumi up`. What is made carries the tag `remora:installation` from its
first moment, or a name that begins with it; what is changed or removed carries it already. Buckets and keys can't be
removed, objects and values of secrets can't be read. Two roles of this installation can be given away, to machines
(EC2) only.

It writes the policies of the four roles, as whoever makes roles does: `advanced.permission_boundary` names a policy of
yours that bounds each of them. A key of your own (`advanced.kms_key`) must let the installer and the roles use it: in
its own policy, or by the tag.

A managed policy has at most 6144 characters, so that these are {parts}: attach all of them."""
ROLES: dict[Actor, str] = {
    "master": "## The control plane: how many machines there are\n\nTaken on from the control plane's account.",
    "signer": "## The control plane: addresses of objects\n\nTaken on to sign for one object at a time.",
    "queue": "## The queue's machine\n\nIt makes passwords and certificates, and keeps them.",
    "worker": "## A worker\n\nData comes to it by signed addresses only.",
}
TRUST = """\
## Who takes the roles on

The control plane's two roles, by the principal and the external id that `remora server invite` printed:"""
TABLE = "| permission | on | cause | by | why |\n| --- | --- | --- | --- | --- |"


def render() -> str:
    """The page."""
    policies = installer_policies(INSTALLER)
    parts = [HEAD, INSTALL.format(parts=len(policies)), *map(_json, policies), _table(INSTALLER_ROWS)]
    for actor, text in ROLES.items():
        policy = aws_policy(actor, VALUES)
        parts += [text, _json(policy), _table(row for row in AWS_ROWS if row.actor == actor)]
    outside = aws_trust(["arn:aws:iam::444455556666:role/remora"], "0123456789abcdef")
    parts += [TRUST, _json(outside), "Machines' roles:", _json(aws_machine_trust("aws"))]
    return "\n\n".join(parts) + "\n"


def _json(policy: dict[str, Any]) -> str:
    return f"{characters(policy)} characters:\n\n```json\n{json.dumps(policy, indent=2)}\n```"


def _table(rows: Iterable[Row]) -> str:
    """A line for all permissions that have everything else in common."""
    lines: dict[str, list[str]] = {}
    for row in rows:
        lines.setdefault(f"{_on(row)} | {row.cause} | {row.by} | {row.why}", []).append(f"`{row.action}`")
    return "\n".join([TABLE, *(f"| {', '.join(actions)} | {rest} |" for rest, actions in lines.items())])


def _on(row: Row) -> str:
    names = ", ".join(f"`{arn}`" for arn in row.on)
    where = [f"`{key}` = `{value}`" for test in row.where.values() for key, value in test.items()]
    return f"{names}{' where ' if where else ''}{', '.join(where)}"


if __name__ == "__main__":
    sys.exit(keep("permissions.md", render(), "gen_permissions.py"))
