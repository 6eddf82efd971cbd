"""What both flavours in AWS are made of: the workers' side, from the network to the groups."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from infra.aws.account import Account, Image, MachineType, RefusedError, offered_types
from infra.aws.firewall import QUEUE_PORT, Firewall
from infra.aws.identity import Identity, Trust
from infra.aws.network import Network, NetworkWish
from infra.aws.queue import Queue, QueueCard, QueueWish
from infra.aws.secrets import Secrets
from infra.aws.stores import Stores, StoresWish
from infra.aws.worker_group import GroupWish, WorkerGroup
from infra.names import Labels
from stacks.config.aws import AwsGroup, AwsInstallation, AwsNetwork
from stacks.config.base import ConfigError
from stacks.config.common import Advanced
from stacks.scripts import Scripts


@dataclass(frozen=True)
class Leader:
    """The control plane, as the workers' side needs to know it. `outside`: it is not in this installation's network."""

    dashboard: str
    addresses: Sequence[str]
    principals: list[str]
    external_id: str
    release_keys: tuple[str, ...]
    outside: bool


@dataclass(frozen=True)
class Found:
    """What the account offers of what was asked for: every question that can be refused, before anything is made."""

    types: dict[str, MachineType]
    images: dict[str, Image]
    queue_image: str


@dataclass(frozen=True)
class WorkersSide:
    """What stands when it was built."""

    found: Found
    network: Network
    firewall: Firewall
    stores: Stores
    secrets: Secrets
    identity: Identity
    scripts: Scripts
    queue: Queue
    groups: dict[str, WorkerGroup]


@contextmanager
def refusals(flavour: str) -> Iterator[None]:
    """What the account refuses, as an error of the configuration."""
    try:
        yield
    except RefusedError as error:
        raise ConfigError({f"{flavour}.{key}": sentence for key, sentence in error.problems.items()}) from error


def look(account: Account, settings: AwsInstallation) -> Found:
    """Ask the account. Raises RefusedError with all that is not offered."""
    types = offered_types(account, settings.named_types())
    images = {name: account.image(settings.image, name) for name in {kind.architecture for kind in types.values()}}
    return Found(types, images, images[types[settings.queue_type].architecture].id)


def build_workers(
    account: Account, labels: Labels, settings: AwsInstallation, advanced: Advanced, leader: Leader
) -> WorkersSide:
    """Network, stores, identities, queue and groups of an installation. Raises RefusedError."""
    found = look(account, settings)
    network = Network(account, labels, _network(settings.network))
    stores = Stores(account, labels, StoresWish(leader.dashboard, advanced.retain_versions_days, advanced.kms_key))
    secrets = Secrets(account, labels, [group.slug for group in settings.groups], stores.key_arn)
    trust = Trust(leader.principals, leader.external_id, advanced.permission_boundary)
    identity = Identity(account, labels, stores, secrets, trust)
    firewall = Firewall(account, labels, network, leader.addresses)
    scripts = Scripts(account, labels, advanced, leader.release_keys)
    subnet = network.public_subnet_ids[0] if leader.outside else network.subnet_ids[0]
    card = QueueCard(account, labels, subnet, firewall.queue, public=leader.outside)
    script = scripts.queue(card, secrets, QUEUE_PORT)
    wish = QueueWish(settings.queue_type, found.queue_image, identity.queue_profile, script)
    queue = Queue(account, labels, card, wish)

    def group(asked: AwsGroup) -> WorkerGroup:
        machine = found.types[asked.type]
        wish = GroupWish(
            slug=asked.slug,
            machine=machine,
            ceiling=asked.max,
            market=asked.market,
            disk_gb=asked.disk_gb,
            image=found.images[machine.architecture],
            subnet_ids=network.subnet_ids,
            security_group=firewall.workers,
            profile=identity.worker_profile,
            user_data=scripts.worker(asked, secrets, stores),
        )
        return WorkerGroup(account, labels, wish)

    groups = {asked.slug: group(asked) for asked in settings.groups}
    return WorkersSide(found, network, firewall, stores, secrets, identity, scripts, queue, groups)


def _network(wish: AwsNetwork) -> NetworkWish:
    return NetworkWish(wish.cidr, wish.egress == "nat", wish.vpc_id, tuple(wish.subnet_ids))
