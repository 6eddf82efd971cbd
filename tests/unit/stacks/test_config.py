"""The configuration of a stack: what is refused, with the key and the remedy, before anything is created."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from controlplane.environments.invitation import invite
from infra.aws.account import IMAGE_OWNERS
from stacks.config.aws import IMAGES, SelfHostedAws
from stacks.config.base import ConfigError, read_part
from stacks.config.choice import FLAVOURS, choose

MASTER = {
    "dashboard": "https://remora.example.com",
    "addresses": ["203.0.113.7/32"],
    "release_keys": ["a2V5"],
    "principal": "arn:aws:iam::111122223333:role/remora-master",
    "external_id": "0123456789abcdef",
}
AWS = {"name": "lab", "region": "eu-west-1", "master": MASTER}
HOSTS = [{"address": "10.0.0.1"}, {"address": "10.0.0.2"}]
SSH = {"name": "lab", "hosts": HOSTS, "master": MASTER}


def problems(flavour: str, provider: str, settings: object, **more: object) -> dict[str, str]:
    with pytest.raises(ConfigError) as caught:
        choose({"flavour": flavour, "provider": provider, flavour: settings, **more})
    return caught.value.problems


def test_three_values_are_enough_for_a_private_worker() -> None:
    chosen = choose({"flavour": "private_worker", "provider": "aws", "private_worker": AWS})
    assert chosen.settings.network.cidr == "10.87.0.0/16"
    assert [group.slug for group in chosen.settings.groups] == ["m6i-xlarge"]


@pytest.mark.security("I01")
def test_ones_own_control_plane_prints_all_that_is_not_ones_own(tmp_path: Path) -> None:
    """Nothing is asked of a vendor, and the images belong to Debian and Canonical."""
    own = {"dashboard": "https://remora.example.com", "addresses": ["203.0.113.7/32"], "release_keys": ["a2V5"]}
    cloud, plain = (
        invite(**own, cloud=provider, principal=MASTER["principal"] if provider else "", keys=tmp_path, name="lab")
        for provider in ("aws", "")
    )
    choose({"flavour": "private_worker", "provider": "aws", "private_worker": {**AWS, "master": cloud}})
    choose({"flavour": "on_prem", "provider": "ssh", "on_prem": {**SSH, "master": plain}})
    assert set(IMAGES) == set(IMAGE_OWNERS) == {"debian-12", "ubuntu-24.04"}
    assert IMAGE_OWNERS == {"debian-12": "136693071363", "ubuntu-24.04": "099720109477"}


@pytest.mark.parametrize(
    ("flavour", "provider", "needed"),
    [
        ("private_worker", "aws", {"name", "region", "master"}),
        ("on_prem", "ssh", {"name", "hosts", "master"}),
        ("self_hosted", "ssh", {"name", "hosts", "dashboard"}),
    ],
)
def test_three_values_are_needed_and_twelve_taken_at_most(flavour: str, provider: str, needed: set[str]) -> None:
    said = problems(flavour, provider, {})
    assert set(said) == {f"{flavour}.{key}" for key in needed}
    assert all(sentence.startswith("A value is needed. Expected: ") for sentence in said.values())
    assert len(_fields(flavour, provider)) <= 12


def _fields(flavour: str, provider: str) -> dict[str, Any]:
    kind = FLAVOURS[flavour][provider]
    assert kind is not None
    return dict(kind.model_fields)


@pytest.mark.parametrize(
    ("flavour", "provider", "key", "said"),
    [
        ("private_workr", "aws", "flavour", "Did you mean private_worker?"),
        ("", "aws", "flavour", "is none of private_worker, on_prem"),
        ("private_worker", "ssh", "provider", "is none of aws, gcp"),
        ("private_worker", "gcp", "provider", "private_worker on gcp is not there yet; built so far: aws."),
        ("self_hosted", "gcp", "provider", "self_hosted on gcp is not there yet; built so far: "),
        ("saas", "aws", "provider", "saas on aws is not there yet; nothing of this flavour is built so far."),
    ],
)
def test_flavour_and_provider_are_named(flavour: str, provider: str, key: str, said: str) -> None:
    assert said in problems(flavour, provider, {})[key]


def changed(base: dict[str, Any], **values: object) -> dict[str, Any]:
    return {**base, **values}


WRONG_AWS = [
    (changed(AWS, name="Lab_1"), "name", "lower-case letters"),
    (changed(AWS, name="a" * 21), "name", "at most 20 leave room"),
    (changed(AWS, region="ireland"), "region", "Expected: an AWS region such as eu-west-1"),
    (changed(AWS, reigon="eu-west-1"), "reigon", "Did you mean region?"),
    (changed(AWS, network={"cdir": "10.0.0.0/16"}), "network.cdir", "Did you mean cidr?"),
    (changed(AWS, network={"cidr": "10.0.0.0/8"}), "network.cidr", "between /16 and /22"),
    (changed(AWS, network={"cidr": "ten"}), "network.cidr", "such as 10.87.0.0/16"),
    (changed(AWS, network={"cidr": "10.87.0.0/16", "avoid": ["10.0.0.0/8"]}), "network", "overlaps 10.0.0.0/8"),
    (changed(AWS, network={"subnet_ids": ["subnet-0a"]}), "network", "without vpc_id"),
    (changed(AWS, network={"subnet_ids": ["net-1"], "vpc_id": "vpc-0a"}), "network.subnet_ids", "subnet-0a1b2c3d"),
    (changed(AWS, groups=[]), "groups", "at least 1"),
    (changed(AWS, groups=[{"type": "huge"}]), "groups[0].type", "an instance type such as m6i.xlarge"),
    (changed(AWS, groups=[{"type": "m6i.large", "max": 0}]), "groups[0].max", "greater than or equal to 1"),
    (changed(AWS, groups=[{"type": "m6i.large"}] * 2), "groups", "m6i-large stands twice"),
    (changed(AWS, image="windows"), "image", "debian-12, ubuntu-24.04 or an image's id"),
    (changed(AWS, master=changed(MASTER, dashboard="remora")), "master.dashboard", "https://remora.example.com"),
    (changed(AWS, master=changed(MASTER, addresses=["here"])), "master.addresses[0]", "203.0.113.7/32"),
    (changed(AWS, master=changed(MASTER, external_id="")), "", "`remora server invite --cloud aws`"),
    (changed(AWS, master=changed(MASTER, principal="")), "", "master.principal is missing"),
]


@pytest.mark.parametrize(("settings", "key", "said"), WRONG_AWS, ids=[f"{row[1]}-{row[2]}" for row in WRONG_AWS])
def test_wrong_values_in_aws(settings: dict[str, Any], key: str, said: str) -> None:
    found = problems("private_worker", "aws", settings)
    assert said in found[f"private_worker.{key}".rstrip(".")]


CONTROL_PLANE = {
    "domain": "remora.example.com",
    "certificate": "arn:aws:acm:eu-west-1:111122223333:certificate/0a1b2c3d",
    "release_keys": ["a2V5"],
    "allowed": ["203.0.113.0/24"],
}
SELF_HOSTED = {"name": "lab", "region": "eu-west-1", "control_plane": CONTROL_PLANE}
FAR = "arn:aws:acm:us-east-1:111122223333:certificate/0a1b2c3d"
ONE_SUBNET = {"vpc_id": "vpc-0a", "subnet_ids": ["subnet-0a"]}


def self_hosted(**control_plane: object) -> dict[str, Any]:
    return changed(SELF_HOSTED, control_plane=changed(CONTROL_PLANE, **control_plane))


WRONG_SELF_HOSTED = [
    (self_hosted(domain="https://remora.example.com"), "control_plane.domain", "such as remora.example.com"),
    (self_hosted(certificate="cert.pem"), "control_plane.certificate", "ARN of a certificate in ACM"),
    (self_hosted(certificate=FAR), "", "control_plane.certificate is in us-east-1"),
    (self_hosted(allowed=[]), "control_plane.allowed", "at least 1"),
    (self_hosted(allowed=["anywhere"]), "control_plane.allowed[0]", "a network such as 203.0.113.0/24"),
    (self_hosted(allowed=["2001:db8::/32"]), "control_plane.allowed", "addresses of IPv4 only"),
    (self_hosted(replicas=0), "control_plane.replicas", "greater than or equal to 1"),
    (self_hosted(release_keys=[]), "control_plane.release_keys", "at least 1"),
    (changed(SELF_HOSTED, network=ONE_SUBNET), "", "subnets in two zones"),
    (changed(SELF_HOSTED, database={"type": "t4g.medium"}), "database.type", "such as db.t4g.medium"),
    (changed(SELF_HOSTED, database={"backup_days": 0}), "database.backup_days", "any moment of so many days"),
    (changed(SELF_HOSTED, database={"password": "x"}), "database.password", "There is no such key"),
]


@pytest.mark.parametrize(
    ("settings", "key", "said"), WRONG_SELF_HOSTED, ids=[f"{row[1]}-{row[2]}" for row in WRONG_SELF_HOSTED]
)
def test_wrong_values_of_a_control_plane_in_aws(settings: dict[str, Any], key: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_part(SelfHostedAws, settings, "self_hosted")
    assert said in caught.value.problems[f"self_hosted.{key}".rstrip(".")]


def test_three_values_are_enough_for_a_control_plane_in_aws() -> None:
    found = read_part(SelfHostedAws, SELF_HOSTED, "self_hosted")
    assert (found.control_plane.replicas, found.database.two_zones, found.database.backup_days) == (2, True, 14)
    assert [key for key, _ in found.named_types()] == ["groups[0].type", "queue_type", "control_plane.type"]
    with pytest.raises(ConfigError) as caught:
        read_part(SelfHostedAws, {}, "self_hosted")
    assert set(caught.value.problems) == {f"self_hosted.{key}" for key in ("name", "region", "control_plane")}
    assert len(SelfHostedAws.model_fields) <= 12


@pytest.mark.parametrize(
    ("allowed", "is_inside"),
    [
        (["10.1.0.0/16", "192.168.0.0/24"], True),
        (["10.1.0.0/16", "203.0.113.0/24"], False),
        (["0.0.0.0/0"], False),
        (["0.0.0.0/1"], False),
    ],
)
def test_the_load_balancer_is_inside_when_everybody_is(allowed: list[str], is_inside: bool) -> None:
    found = read_part(SelfHostedAws, self_hosted(allowed=allowed), "self_hosted")
    assert found.control_plane.is_inside == is_inside


WRONG_SSH = [
    (changed(SSH, hosts=[{"address": "-oProxyCommand=x"}]), "hosts[0].address", "name or address"),
    (changed(SSH, hosts=HOSTS[:1] * 2), "", "10.0.0.1 stands twice"),
    (changed(SSH, hosts=[{"address": "a", "mounts": ["/data/../etc"]}]), "hosts[0].mounts", "an absolute folder"),
    (changed(SSH, hosts=[{"address": "a", "mounts": ["/"]}]), "hosts[0].mounts", "other than /"),
    (changed(SSH, store={"kind": "folder"}), "", "serves one host only"),
    (changed(SSH, store={"kind": "s3"}), "store", "needs endpoint, bucket and credentials"),
    (changed(SSH, store={"kind": "s3", "credentials": "AKIA:secret"}), "store.credentials", "file: and the path"),
    (changed(SSH, access={"user": "root -o x"}), "access.user", "root, or a user who may sudo"),
]


@pytest.mark.parametrize(("settings", "key", "said"), WRONG_SSH, ids=[f"{row[1]}-{row[2]}" for row in WRONG_SSH])
def test_wrong_values_on_hosts(settings: dict[str, Any], key: str, said: str) -> None:
    found = problems("on_prem", "ssh", settings)
    assert said in found[f"on_prem.{key}".rstrip(".")]


OWN = {"name": "lab", "hosts": HOSTS, "dashboard": "https://remora.example.com"}
WRONG_OWN = [
    (changed(OWN, dashboard="http://remora.example.com"), "begins with https://"),
    (changed(OWN, certificate="/etc/tls.pem"), "certificate and key go together"),
    (changed(OWN, hosts=HOSTS[:1], store={"kind": "folder"}), "choose versitygw or an existing s3"),
]


@pytest.mark.parametrize(("settings", "said"), WRONG_OWN, ids=[row[1] for row in WRONG_OWN])
def test_wrong_values_of_a_control_plane_on_a_host(settings: dict[str, Any], said: str) -> None:
    assert said in problems("self_hosted", "ssh", settings)["self_hosted"]


def test_all_that_is_wrong_is_said_at_once() -> None:
    found = problems("private_worker", "aws", changed(AWS, name="", region="x"), advanced={"proxy": "x"}, networks={})
    assert set(found) == {"private_worker.name", "private_worker.region", "advanced.proxy", "networks"}


def test_tags_that_belong_to_others_are_refused() -> None:
    found = problems("private_worker", "aws", AWS, advanced={"tags": {"aws:x": "1"}})
    assert "are taken" in next(iter(found.values()))


def test_a_proxy_with_a_password_is_refused_without_showing_it() -> None:
    found = problems("private_worker", "aws", AWS, advanced={"proxy": "http://user:hunter2@proxy:3128"})
    assert "without a password" in found["advanced.proxy"]
    assert "hunter2" not in found["advanced.proxy"]
