"""Keys that several flavours have: name, the control plane that leads, groups' limits, and the advanced part."""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field

from stacks.config.base import Part

# With the longest suffix of ours and Pulumi's seven letters it stays within the 64 of a role and the 63 of a bucket.
NAME_MAX = 20
_NAME = re.compile(r"[a-z][a-z0-9-]*")


def _name(value: str) -> str:
    if len(value) > NAME_MAX:
        raise ValueError(f"{value!r} has {len(value)} letters; at most {NAME_MAX} leave room for the names made of it.")
    if not _NAME.fullmatch(value):
        raise ValueError(f"{value!r}: lower-case letters, digits and hyphens are expected, a letter first.")
    return value


def _network(value: str) -> str:
    try:
        return str(ipaddress.ip_network(value))
    except ValueError:
        raise ValueError(f"{value!r}: a network such as 203.0.113.0/24 or 203.0.113.7/32 is expected.") from None


def _origin(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in ("https", "http") or not parts.hostname or parts.path.strip("/") or parts.query:
        raise ValueError(f"{value!r}: the dashboard's address is expected, such as https://remora.example.com.")
    return f"{parts.scheme}://{parts.netloc}"


def _tag(value: str) -> str:
    if value.startswith(("aws:", "remora:")):
        raise ValueError(f"{value!r}: tags that begin with aws: or remora: are taken.")
    return value


Name = Annotated[str, AfterValidator(_name)]
Network = Annotated[str, AfterValidator(_network)]
Origin = Annotated[str, AfterValidator(_origin)]
TagKey = Annotated[str, Field(min_length=1, max_length=128), AfterValidator(_tag)]
TagValue = Annotated[str, Field(max_length=256)]


class Master(Part):
    """The control plane that leads the machines, as `remora server invite` prints it. None of it is a secret."""

    dashboard: Origin = Field(description="the dashboard's address, such as https://remora.example.com")
    addresses: list[Network] = Field(
        min_length=1, max_length=16, description="networks that the control plane comes from, such as 203.0.113.7/32"
    )
    release_keys: list[str] = Field(
        min_length=1, max_length=2, description="public keys that sign the agent's releases, in base64"
    )
    principal: str = Field(default="", description="who may take on the master's role in a cloud, such as a role's ARN")
    external_id: str = Field(
        default="", max_length=128, description="what the control plane names when it takes the role on"
    )


class Mirrors(Part):
    """Where machines get packages and images from, in place of the public ones."""

    apt: str = Field(default="", description="base address of a Debian or Ubuntu mirror")
    images: str = Field(default="", description="host of a registry that mirrors Docker Hub")


class Advanced(Part):
    """What few installations need."""

    proxy: str = Field(default="", pattern=r"^(https?://[^\s@]+)?$", description="HTTP proxy, without a password")
    no_proxy: list[str] = Field(default_factory=list, description="hosts that are reached without it")
    ca_bundle: str = Field(default="", description="certificate authorities (PEM text) that machines trust besides")
    mirrors: Mirrors = Field(default_factory=Mirrors)
    tags: dict[TagKey, TagValue] = Field(default_factory=dict, max_length=40, description="further tags")
    kms_key: str = Field(
        default="", pattern=r"^(arn:aws[a-z-]*:kms:.+)?$", description="ARN of an own key; made when empty"
    )
    retain_versions_days: int = Field(default=30, ge=1, le=3650, description="days that overwritten objects are kept")
    permission_boundary: str = Field(
        default="",
        pattern=r"^(arn:aws[a-z-]*:iam::\d{12}:policy/.+)?$",
        description="ARN of a policy that bounds every role",
    )
