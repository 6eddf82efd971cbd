"""The installation document: what a stack exports and the control plane imports. Nothing else crosses.

Typed and versioned; secrets are references (`env:NAME`, `file:PATH`, a cloud's secret address), never values.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

DOCUMENT_VERSION = 1
Flavour = Literal["saas", "private_worker", "on_prem", "self_hosted"]
Provider = Literal["aws", "gcp", "azure", "openstack", "ssh", "embedded"]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class AccessSpec(_Part):
    """How the master comes into the account that the machines stand in: a narrow role there, taken on by name.

    `external_id` is what the master must name as it takes the role on; it is no secret.
    """

    provider: Provider
    region: str = ""
    role: str = ""
    external_id: str = ""


class QueueSpec(_Part):
    """The workers' queue: a Redis of its own. `url` is without password; `password` is a reference.

    `ca`, `certificate` and `key` are files on the master's machines or references, for addresses that begin with
    rediss://. A cloud's reference names one field of a secret: `aws:SECRET_ARN#password`.
    """

    url: str = Field(pattern=r"^rediss?://")
    user: str = "master"
    password: str = Field(pattern=r"^(env|file|aws|gcp|azure|openstack):.+")
    ca: str = ""
    certificate: str = ""
    key: str = ""


class StoreSpec(_Part):
    """An object store. `location` is a bucket's address or, for kind `folder`, an absolute path.

    `credentials` refers to two lines, access key and secret; empty: the machine's own identity. `ca` is a file on the
    master's machines: the authority of a store whose certificate no public one signed.
    """

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")
    purpose: Literal["code", "releases", "logs", "data"]
    kind: Literal["folder", "s3", "gcs", "azure", "swift"]
    location: str
    options: dict[str, Any] = Field(default_factory=dict)
    credentials: str = Field(default="", pattern=r"^((env|file|aws|gcp|azure|openstack):.+)?$")
    ca: str = ""


class GroupSpec(_Part):
    """A worker group: machines of one type in one region. `price` is micro-units of `currency` an hour."""

    slug: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")
    name: str
    description: str = ""
    region: str = ""
    instance_type: str = ""
    gpu_spec: str = ""
    price: int | None = Field(default=None, ge=0)
    currency: str = Field(default="USD", pattern=r"^[A-Z]{3}$")
    scale_min: int = Field(default=0, ge=0)
    scale_max: int = Field(default=1, ge=0)
    join_secret: str = Field(pattern=r"^(env|file|aws|gcp|azure|openstack):.+")
    settings: dict[str, Any] = Field(default_factory=dict)


class InstallationDocument(_Part):
    """One installation, as `remora server import-installation FILE` reads it."""

    version: Literal[1] = 1
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")
    flavour: Flavour
    provider: Provider
    access: AccessSpec | None = None
    queue: QueueSpec
    stores: list[StoreSpec]
    groups: list[GroupSpec]
