"""Start-up scripts of an installation's machines in AWS, as Pulumi wants them."""

from __future__ import annotations

import json
from importlib.metadata import version
from typing import Any

import pulumi

from infra.aws.account import Account
from infra.aws.database import Database
from infra.aws.firewall import MASTER_PORT
from infra.aws.queue import QueueCard
from infra.aws.secrets import Secrets
from infra.aws.stores import Stores
from infra.names import Labels
from stacks.config.aws import AwsGroup
from stacks.config.common import Advanced
from worker_bootstrap.startup.rendering import packed, user_data
from worker_bootstrap.startup.settings import (
    AwsPlace,
    MasterStartup,
    QueueStartup,
    Startup,
    Surroundings,
    WorkerStartup,
)


def surroundings(advanced: Advanced) -> Surroundings:
    """The machines' network, of the advanced configuration. Pure."""
    return Surroundings(
        proxy=advanced.proxy,
        no_proxy=tuple(advanced.no_proxy),
        ca_bundle=advanced.ca_bundle,
        apt_mirror=advanced.mirrors.apt,
        image_mirror=advanced.mirrors.images,
    )


class Scripts:
    """Renders the scripts; no secret is in them, only the names under which machines find theirs."""

    def __init__(self, account: Account, labels: Labels, advanced: Advanced, release_keys: tuple[str, ...]) -> None:
        self._labels = labels
        self._place = AwsPlace(account.region)
        self._surroundings = surroundings(advanced)
        self._release_keys = release_keys

    def queue(self, card: QueueCard, secrets: Secrets, port: int) -> pulumi.Output[str]:
        """Base64 script of the queue's machine. Workers use its inner address, the control plane the other one."""
        names = pulumi.Output.all(secrets.state, secrets.master, secrets.list_name)
        hosts = pulumi.Output.all(card.inner_address, card.address)

        def render(found: list[list[str]]) -> str:
            (state, master, groups), addresses = found
            return _encoded(
                QueueStartup(
                    installation=self._labels.installation,
                    place=self._place,
                    hosts=tuple(dict.fromkeys(addresses)),
                    state_secret=state,
                    master_secret=master,
                    groups_parameter=groups,
                    release_keys=self._release_keys,
                    port=port,
                    surroundings=self._surroundings,
                )
            )

        return pulumi.Output.all(names, hosts).apply(render)

    def worker(self, group: AwsGroup, secrets: Secrets, stores: Stores) -> pulumi.Output[str]:
        """Base64 script of a group's machines."""

        def render(found: list[str]) -> str:
            secret, bucket = found
            return _encoded(
                WorkerStartup(
                    installation=self._labels.installation,
                    group=group.slug,
                    place=self._place,
                    credential_secret=secret,
                    releases_bucket=bucket,
                    release_manifest=_manifest(),
                    release_keys=self._release_keys,
                    surroundings=self._surroundings,
                )
            )

        return pulumi.Output.all(secrets.groups[group.slug], stores.buckets["releases"]).apply(render)

    def master(
        self, domain: str, database: Database, stores: Stores, document: pulumi.Output[dict[str, Any]]
    ) -> pulumi.Output[str]:
        """Base64 script of the control plane's machines."""

        def render(found: list[Any]) -> str:
            host, secret, bucket, installation = found
            return _encoded(
                MasterStartup(
                    installation=self._labels.installation,
                    place=self._place,
                    domain=domain,
                    port=MASTER_PORT,
                    document=json.dumps(installation, sort_keys=True),
                    database_host=host,
                    database_port=database.port,
                    database_name=database.name,
                    database_secret=secret,
                    releases_bucket=bucket,
                    release_manifest=_manifest(),
                    release_keys=self._release_keys,
                    surroundings=self._surroundings,
                )
            )

        known = pulumi.Output.all(database.address, database.secret, stores.buckets["releases"], document)
        return known.apply(render)


def _manifest() -> str:
    """The release of this version: agent and control plane are signed together."""
    return f"agent/{version('remora')}/manifest.json"


def _encoded(settings: Startup) -> str:
    return packed(user_data(settings))
