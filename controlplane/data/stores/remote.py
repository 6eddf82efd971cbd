"""Stores reached over HTTP, from a checked description: by whose identity, over which network rules."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from controlplane.clock import Clock
from controlplane.data.stores.aws_identity import AwsIdentity, AwsKey, GivenKey, RoleIdentity
from controlplane.data.stores.aws_identity import MachineIdentity as AwsMachine
from controlplane.data.stores.azure import AzureStore, Container
from controlplane.data.stores.azure_identity import AccountKey, Application, DelegationKey, Signer
from controlplane.data.stores.azure_identity import MachineIdentity as AzureMachine
from controlplane.data.stores.base import ObjectStore, StoreError
from controlplane.data.stores.config import AzureConfig, GcsConfig, S3Config, StoreConfig, SwiftConfig, read_config
from controlplane.data.stores.gcs import GcsBucket, GcsStore
from controlplane.data.stores.google_identity import KeyFile, MachineAccount
from controlplane.data.stores.http import StoreHttp
from controlplane.data.stores.placing import placed
from controlplane.data.stores.s3 import Bucket, S3Store
from controlplane.data.stores.swift import SwiftContainer, SwiftStore
from controlplane.data.stores.swift_identity import Login, Tokens
from controlplane.environments.models import Store
from controlplane.errors import ValidationError
from controlplane.net.reach import Reach
from controlplane.settings import Settings

GOOGLE = "https://storage.googleapis.com"


@dataclass(frozen=True)
class Owner:
    """Whose store it is. `organization_id` None: the operator's, who may use the machine's own identity.

    `external_id`: what is named when a role is taken on; only an installation's document says it, people's stores
    are bound to their organisation.
    """

    organization_id: str | None
    external_id: str = ""

    @property
    def is_operator(self) -> bool:
        """Whether whoever runs this control plane made it."""
        return self.organization_id is None


class RemoteStores:
    """Opens them; each talks by the network rules of who named its address."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._ttl = settings.signed_url_ttl
        self._clock = clock
        self._ca_bundle: Path | None = settings.ca_bundle
        self._vetted = Reach.from_settings(settings)

    def of_row(self, row: Store, secrets: dict[str, str]) -> ObjectStore:
        """The store that a row describes. Raises StoreError."""
        values = placed(row.kind, row.config)
        external_id = values.pop("external_id", "")
        values.pop("ca", "")
        try:
            config = read_config(row.kind, {**values, **secrets})
        except (ValidationError, KeyError) as error:
            raise StoreError("unavailable", f"the store {row.name} is described wrongly: {error}") from error
        return self._made(config, Owner(row.organization_id, external_id), self.way(row))

    def way(self, row: Store) -> StoreHttp:
        """How a row's store may be reached."""
        # The authority of a store that an installation brought with it; people's stores can't name files of ours.
        own = Path(row.config["ca"]) if row.installation_id and row.config.get("ca") else None
        return self._way(Owner(row.organization_id), own)

    def _way(self, owner: Owner, ca: Path | None = None) -> StoreHttp:
        return StoreHttp(Reach.everywhere() if owner.is_operator else self._vetted, ca or self._ca_bundle)

    def of_config(self, config: StoreConfig, owner: Owner) -> ObjectStore:
        """The store of a checked description. Raises StoreError `denied` without any identity for it."""
        return self._made(config, owner, self._way(owner))

    def _made(self, config: StoreConfig, owner: Owner, http: StoreHttp) -> ObjectStore:
        if isinstance(config, S3Config):
            return self._s3(config, owner, http)
        if isinstance(config, GcsConfig):
            return self._gcs(config, owner, http)
        if isinstance(config, AzureConfig):
            return self._azure(config, owner, http)
        assert isinstance(config, SwiftConfig)
        return self._swift(config, http)

    def _s3(self, config: S3Config, owner: Owner, http: StoreHttp) -> ObjectStore:
        path_style = bool(config.endpoint_url) if config.path_style is None else config.path_style
        bucket = Bucket(
            config.bucket, config.region, config.endpoint_url, path_style, config.prefix, config.kms_key_arn
        )
        return S3Store(bucket, self._aws(config, owner), http, self._ttl, self._clock)

    def _aws(self, config: S3Config, owner: Owner) -> AwsIdentity:
        base: AwsIdentity = AwsMachine(self._clock)
        if config.access_key_id:
            base = GivenKey(AwsKey(config.access_key_id, config.secret_access_key))
        if config.role_arn:
            # The external id binds the role to one organisation: nobody else can name it here and use it.
            external_id = owner.external_id or owner.organization_id or ""
            return RoleIdentity(base, config.role_arn, external_id, config.region, self._clock)
        if not config.access_key_id and not owner.is_operator:
            raise StoreError("denied", "it needs an access key, or a role that this installation may take on")
        return base

    def _gcs(self, config: GcsConfig, owner: Owner, http: StoreHttp) -> ObjectStore:
        if config.service_account_json:
            identity = KeyFile(config.service_account_json, self._clock)
        elif owner.is_operator:
            identity = MachineAccount(self._clock, config.service_account)
        else:
            raise StoreError("denied", "it needs the JSON key of a service account")
        bucket = GcsBucket(config.bucket, config.prefix, config.kms_key, config.endpoint_url or GOOGLE)
        return GcsStore(bucket, identity, http, self._ttl, self._clock)

    def _azure(self, config: AzureConfig, owner: Owner, http: StoreHttp) -> ObjectStore:
        container = Container(config.account_name, config.container_name, config.prefix, config.endpoint_url)
        signer: Signer
        if config.account_key:
            signer = AccountKey(config.account_key)
        elif config.client_secret:
            token = Application(config.tenant_id, config.client_id, config.client_secret, self._clock)
            signer = DelegationKey(token, container.service, http, self._clock)
        elif owner.is_operator:
            token = AzureMachine(self._clock, config.client_id)
            signer = DelegationKey(token, container.service, http, self._clock)
        else:
            raise StoreError("denied", "it needs an application with its secret, or the account's key")
        return AzureStore(container, signer, http, self._ttl, self._clock)

    def _swift(self, config: SwiftConfig, http: StoreHttp) -> ObjectStore:
        login = Login(
            config.auth_url,
            config.auth_version,
            config.username,
            config.password,
            config.project_name,
            config.user_domain_name,
            config.project_domain_name,
            config.region_name,
            config.application_credential_id,
            config.application_credential_secret,
        )
        container = SwiftContainer(
            config.project_name or "project", config.container, config.temp_url_key, config.prefix
        )
        identity = Tokens(login, http, self._clock)
        return SwiftStore(container, identity, http, self._ttl, self._clock)
