"""What can be said of a store of each kind, checked; the fields that are secrets are named, and kept apart. Pure."""

from __future__ import annotations

from typing import Any, ClassVar

import pydantic
from pydantic import BaseModel, ConfigDict, Field, field_validator

from controlplane.errors import DomainError, ValidationError
from controlplane.net.urls import parse_url

PREFIX = r"^([^/\x00-\x1f\\]{1,255}(/[^/\x00-\x1f\\]{1,255})*/?)?$"
WORD = r"^[^\x00-\x1f\x7f]*$"
# What clients of the reference platform send as well, and what means nothing here.
IGNORED = frozenset({"test_configuration", "multipart_upload_iam_role"})


class StoreConfig(BaseModel):
    """What all kinds have: `prefix` is the store's root within the bucket."""

    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=True)
    SECRETS: ClassVar[tuple[str, ...]] = ()
    # What says where secrets, or tokens that they get, are sent to.
    LEADS: ClassVar[tuple[str, ...]] = ("endpoint_url",)

    prefix: str = Field("", pattern=PREFIX, max_length=400, description="Everything is kept below this.")


def _checked_url(value: str) -> str:
    if not value:
        return value
    try:
        if parse_url(value).path.partition("?")[1]:
            raise ValueError("An address without a query is expected.")
    except DomainError as error:
        raise ValueError(error.message) from error
    return value.rstrip("/")


class S3Config(StoreConfig):
    """A bucket of S3, or of what speaks like it."""

    SECRETS = ("secret_access_key",)

    bucket: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{1,253}[A-Za-z0-9]$", description="Its name.")
    region: str = Field("us-east-1", pattern=r"^[a-z0-9-]{2,32}$", description="Like eu-north-1.")
    access_key_id: str = Field("", max_length=256, pattern=WORD, description="Key that may use the bucket.")
    secret_access_key: str = Field("", max_length=256, description="Its secret.")
    role_arn: str = Field(
        "",
        max_length=256,
        # Of ASCII letters, which names of roles have; \w repeated 200 times is 18 MB of compiled pattern.
        pattern=r"^(arn:aws[a-z-]*:iam::[0-9]{12}:role/[A-Za-z0-9_+=,.@/-]{1,200})?$",
        description="Role that is taken on, instead of a key.",
    )
    endpoint_url: str = Field("", max_length=512, description="Address of another S3 than AWS's.")
    path_style: bool | None = Field(None, description="Bucket in the path, not in the host.")
    kms_key_arn: str = Field("", max_length=256, pattern=WORD, description="KMS key that encrypts what is written.")

    _url = field_validator("endpoint_url")(_checked_url)


class GcsConfig(StoreConfig):
    """A bucket of Google Cloud Storage."""

    SECRETS = ("service_account_json",)

    bucket: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]$", description="Its name.")
    service_account_json: str = Field("", max_length=20_000, description="JSON key of a service account.")
    service_account: str = Field(
        "", max_length=256, pattern=r"^([\w.-]+@[\w.-]+)?$", description="Account that the machine speaks for."
    )
    kms_key: str = Field("", max_length=512, pattern=WORD, description="projects/…/cryptoKeys/… that encrypts.")
    endpoint_url: str = Field("", max_length=512, description="Another address than Google's.")

    _url = field_validator("endpoint_url")(_checked_url)


class AzureConfig(StoreConfig):
    """A container of an Azure storage account."""

    SECRETS = ("account_key", "client_secret")
    LEADS = ("endpoint_url", "account_name", "tenant_id")

    account_name: str = Field(pattern=r"^[a-z0-9]{3,24}$", description="The storage account.")
    container_name: str = Field(pattern=r"^(\$root|[a-z0-9][a-z0-9-]{1,61}[a-z0-9])$", description="Its container.")
    tenant_id: str = Field("", max_length=128, pattern=r"^[A-Za-z0-9.-]*$", description="Tenant of the application.")
    client_id: str = Field("", max_length=128, pattern=r"^[A-Za-z0-9-]*$", description="The application.")
    client_secret: str = Field("", max_length=512, description="Its secret.")
    account_key: str = Field("", max_length=512, description="Instead of an application: the account's own key.")
    endpoint_url: str = Field("", max_length=512, description="Another address of the account.")

    _url = field_validator("endpoint_url")(_checked_url)


class SwiftConfig(StoreConfig):
    """A container of OpenStack Swift."""

    SECRETS = ("password", "application_credential_secret", "temp_url_key")
    LEADS = ("auth_url", "auth_version")

    auth_url: str = Field(max_length=512, description="Address of Keystone, like https://keystone.example.com/v3.")
    auth_version: str = Field("3", pattern=r"^(1|3)$", description="3 is Keystone, 1 is Swift's own.")
    username: str = Field("", max_length=256, pattern=WORD, description="Who logs in.")
    password: str = Field("", max_length=512, description="The password.")
    project_name: str = Field("", max_length=256, pattern=r"^[^\x00-\x1f/]*$", description="Its project.")
    user_domain_name: str = Field("Default", max_length=256, pattern=WORD, description="Domain of the user.")
    project_domain_name: str = Field("Default", max_length=256, pattern=WORD, description="Domain of the project.")
    region_name: str = Field("", max_length=128, pattern=WORD, description="Where there are several.")
    application_credential_id: str = Field("", max_length=128, pattern=WORD, description="Instead of a password.")
    application_credential_secret: str = Field("", max_length=512, description="Its secret.")
    container: str = Field(pattern=r"^[^/\x00-\x1f]{1,256}$", description="The container.")
    temp_url_key: str = Field(min_length=16, max_length=256, description="Key of the container for TempURLs.")

    _url = field_validator("auth_url")(_checked_url)


KINDS: dict[str, type[StoreConfig]] = {"s3": S3Config, "gcs": GcsConfig, "azure": AzureConfig, "swift": SwiftConfig}


def read_config(kind: str, values: dict[str, Any], field: str = "configuration") -> StoreConfig:
    """The store that these values describe. Raises ValidationError naming each wrong one."""
    given = {name: value for name, value in values.items() if value is not None and name not in IGNORED}
    try:
        return KINDS[kind].model_validate(given)
    except pydantic.ValidationError as error:
        raise ValidationError(_fields(KINDS[kind], error, field)) from error


def split(config: StoreConfig) -> tuple[dict[str, Any], dict[str, str]]:
    """(what may be shown, secrets that are set)."""
    values = config.model_dump(exclude_none=True)
    secrets = {name: values.pop(name) for name in config.SECRETS if values.get(name)}
    return {name: value for name, value in values.items() if name not in config.SECRETS}, secrets


def _fields(model: type[StoreConfig], error: pydantic.ValidationError, field: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for entry in error.errors(include_url=False, include_input=False):
        name = str(entry["loc"][0])[:80] if entry["loc"] else ""
        path = f"{field}.{name}" if name else field
        if entry["type"] == "extra_forbidden":
            found[path] = (f"This kind of store has: {', '.join(model.model_fields)}.", "unknown")
        elif entry["type"] == "missing":
            found[path] = ("This is needed.", "required")
        else:
            found[path] = f"{entry['msg'].removeprefix('Value error, ').rstrip('.')}."
    return found
