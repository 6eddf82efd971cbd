"""Who signs addresses of Azure Blob storage: an account key, or better a delegation key that Entra ID's token gets."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import threading
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

import httpx

from controlplane.clock import Clock
from controlplane.data.stores import xml
from controlplane.data.stores.base import StoreError
from controlplane.data.stores.deadline import seconds_left
from controlplane.data.stores.http import StoreHttp

SECONDS = 10.0
MARGIN = timedelta(seconds=300)
DELEGATION = timedelta(hours=6)
VERSION = "2021-12-02"
LOGIN = "https://login.microsoftonline.com"
RESOURCE = "https://storage.azure.com"
METADATA = "http://169.254.169.254/metadata/identity/oauth2/token"
MOMENT = "%Y-%m-%dT%H:%M:%SZ"


class Signer(Protocol):
    """Signs what a shared access signature says."""

    def sign(self, grant: Grant) -> dict[str, str]:
        """The fields of the query, with the signature. Raises StoreError."""
        ...


@dataclass(frozen=True)
class Grant:
    """What an address allows. `resource` is `b` (one blob) or `c`; `path` is `/blob/ACCOUNT/CONTAINER[/BLOB]`."""

    permissions: str
    expires: datetime
    path: str
    resource: str
    protocol: str
    disposition: str = ""

    def fields(self) -> dict[str, str]:
        """Those that both kinds of signature have."""
        shown = {
            "sp": self.permissions,
            "se": self.expires.strftime(MOMENT),
            "spr": self.protocol,
            "sv": VERSION,
            "sr": self.resource,
        }
        return {**shown, "rscd": self.disposition} if self.disposition else shown

    def tail(self) -> list[str]:
        """The last lines of the text that is signed: from the address range on."""
        # sip, spr, sv, sr, snapshot, encryption scope, rscc, rscd, rsce, rscl, rsct
        return ["", self.protocol, VERSION, self.resource, "", "", "", self.disposition, "", "", ""]


class AccountKey:
    """Signs by the account's own key. Raises StoreError `denied` for what is no key."""

    def __init__(self, key: str) -> None:
        try:
            self._key = base64.b64decode(key, validate=True)
        except (binascii.Error, ValueError) as error:
            raise StoreError("denied", "the account key is no Base64 text") from error

    def sign(self, grant: Grant) -> dict[str, str]:
        """See Signer."""
        lines = [grant.permissions, "", grant.expires.strftime(MOMENT), grant.path, "", *grant.tail()]
        return {**grant.fields(), "sig": _signature(self._key, lines)}


@dataclass(frozen=True)
class _Delegation:
    value: bytes
    fields: tuple[str, str, str, str, str, str]
    expires: datetime


class DelegationKey:
    """Signs by a user-delegation key, renewed in time; its requests go to `service`, the account's address."""

    def __init__(self, token: Token, service: str, http: StoreHttp, clock: Clock) -> None:
        self._token = token
        self._service = service
        self._http = http
        self._clock = clock
        self._lock = threading.Lock()
        self._found: _Delegation | None = None

    def sign(self, grant: Grant) -> dict[str, str]:
        """See Signer."""
        key = self._key(grant.expires)
        lines = [grant.permissions, "", grant.expires.strftime(MOMENT), grant.path, *key.fields, "", "", ""]
        names = ("skoid", "sktid", "skt", "ske", "sks", "skv")
        signed = dict(zip(names, key.fields, strict=True))
        return {**grant.fields(), **signed, "sig": _signature(key.value, [*lines, *grant.tail()])}

    def _key(self, until: datetime) -> _Delegation:
        with self._lock:
            if self._found is None or self._found.expires < until + MARGIN:
                self._found = self._fetch()
            return self._found

    def _fetch(self) -> _Delegation:
        # A little in the past, for clocks that do not agree.
        start, end = self._clock() - MARGIN, self._clock() + DELEGATION
        times = f"<Start>{start.strftime(MOMENT)}</Start><Expiry>{end.strftime(MOMENT)}</Expiry>"
        headers = {"Authorization": f"Bearer {self._token.get()}", "x-ms-version": VERSION}
        url = f"{self._service}/?restype=service&comp=userdelegationkey"
        answer = self._http.ask("POST", url, headers, f"<KeyInfo>{times}</KeyInfo>".encode())
        if answer.status != 200:
            raise StoreError("denied", f"Azure gives no delegation key: {xml.error_text(answer.body) or answer.status}")
        root = xml.parse(answer.body)
        names = ("SignedOid", "SignedTid", "SignedStart", "SignedExpiry", "SignedService", "SignedVersion")
        oid, tid, begin, expiry, service, version = (root.text(name) for name in names)
        fields = (oid, tid, begin, expiry, service, version)
        return _Delegation(base64.b64decode(root.text("Value")), fields, end)


class Token(Protocol):
    """An access token of Entra ID for storage."""

    def get(self) -> str:
        """One that is valid for some minutes. Raises StoreError."""
        ...


class _Tokens:
    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._token = ""
        self._expires: datetime | None = None

    def get(self) -> str:
        """See Token."""
        if self._expires is None or self._expires - MARGIN < self._clock():
            answer = self._fetch()
            self._token = answer["access_token"]
            self._expires = self._clock() + timedelta(seconds=float(answer["expires_in"]))
        return self._token

    def _fetch(self) -> Any:
        raise NotImplementedError


class Application(_Tokens):
    """An app registration with a client secret."""

    def __init__(self, tenant: str, client: str, secret: str, clock: Clock, login: str = LOGIN) -> None:
        super().__init__(clock)
        self._url = f"{login}/{tenant}/oauth2/v2.0/token"
        self._form = {
            "grant_type": "client_credentials",
            "client_id": client,
            "client_secret": secret,
            "scope": f"{RESOURCE}/.default",
        }

    def _fetch(self) -> Any:
        return _ask("POST", self._url, data=self._form)


class MachineIdentity(_Tokens):
    """This machine's managed identity, or (AKS) its federated token; `client` chooses one of several."""

    def __init__(self, clock: Clock, client: str = "") -> None:
        super().__init__(clock)
        self._client = client

    def _fetch(self) -> Any:
        file, tenant = os.environ.get("AZURE_FEDERATED_TOKEN_FILE"), os.environ.get("AZURE_TENANT_ID")
        if file and tenant:
            form = {
                "grant_type": "client_credentials",
                "client_id": self._client or os.environ.get("AZURE_CLIENT_ID", ""),
                "scope": f"{RESOURCE}/.default",
                "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
                "client_assertion": Path(file).read_text().strip(),
            }
            return _ask("POST", f"{LOGIN}/{tenant}/oauth2/v2.0/token", data=form)
        query = {"api-version": "2018-02-01", "resource": f"{RESOURCE}/"}
        if self._client:
            query["client_id"] = self._client
        return _ask("GET", METADATA, params=query, headers={"Metadata": "true"})


def _signature(key: bytes, lines: list[str]) -> str:
    return base64.b64encode(hmac.new(key, "\n".join(lines).encode(), hashlib.sha256).digest()).decode()


def _ask(method: str, url: str, **options: Any) -> Any:
    """What Microsoft's own addresses answer. Raises StoreError."""
    try:
        answer = httpx.request(method, url, timeout=seconds_left(SECONDS), trust_env=False, **options)
    except httpx.HTTPError as error:
        raise StoreError("unavailable", f"Entra ID gives no token here: {type(error).__name__}") from error
    if answer.status_code != 200:
        raise StoreError("denied", f"Entra ID refuses: {' '.join(answer.text.split())[:200]}")
    return answer.json()
