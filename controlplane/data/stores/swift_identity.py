"""Tokens of Swift: from Keystone (version 3) or, for Swift without OpenStack, its own version 1."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from controlplane.clock import Clock
from controlplane.data.stores.base import StoreError
from controlplane.data.stores.http import Answer, StoreHttp

MARGIN = timedelta(seconds=300)
# Version 1 says in a header how long its tokens live; where it does not, this is assumed.
UNSAID = 3600


@dataclass(frozen=True)
class Session:
    """A token, and the address of the account's storage."""

    token: str
    storage_url: str
    expires: datetime


@dataclass(frozen=True)
class Login:
    """How to get one. With `credential_id` it is an application credential, and the rest of the names is not needed."""

    auth_url: str
    version: str = "3"
    username: str = ""
    password: str = field(default="", repr=False)
    project: str = ""
    user_domain: str = "Default"
    project_domain: str = "Default"
    region: str = ""
    credential_id: str = ""
    credential_secret: str = field(default="", repr=False)


class SwiftIdentity(Protocol):
    """Whose token our own calls carry."""

    def session(self, *, fresh: bool = False) -> Session:
        """A valid one; `fresh`: not the one before. Raises StoreError."""
        ...


class Tokens:
    """Logs in when needed."""

    def __init__(self, login: Login, http: StoreHttp, clock: Clock) -> None:
        self._login = login
        self._http = http
        self._clock = clock
        self._lock = threading.Lock()
        self._found: Session | None = None

    def session(self, *, fresh: bool = False) -> Session:
        """See SwiftIdentity."""
        with self._lock:
            if fresh or self._found is None or self._found.expires - MARGIN < self._clock():
                self._found = self._one() if self._login.version == "1" else self._three()
            return self._found

    def _one(self) -> Session:
        headers = {"X-Auth-User": self._login.username, "X-Auth-Key": self._login.password}
        answer = self._http.ask("GET", self._login.auth_url, headers)
        if answer.status not in (200, 204):
            raise _refused(answer)
        seconds = answer.headers.get("X-Auth-Token-Expires", "")
        expires = self._clock() + timedelta(seconds=int(seconds) if seconds.isdigit() else UNSAID)
        return Session(answer.headers["X-Auth-Token"], answer.headers["X-Storage-Url"].rstrip("/"), expires)

    def _three(self) -> Session:
        url = f"{self._login.auth_url.rstrip('/').removesuffix('/auth/tokens')}/auth/tokens"
        body = json.dumps({"auth": _request(self._login)}).encode()
        answer = self._http.ask("POST", url, {"Content-Type": "application/json"}, body)
        if answer.status != 201:
            raise _refused(answer)
        try:
            token = json.loads(answer.body)["token"]
            expires = datetime.fromisoformat(token["expires_at"]).astimezone(UTC)
            return Session(answer.headers["X-Subject-Token"], self._storage(token), expires)
        except (ValueError, KeyError, TypeError) as error:
            raise StoreError("unavailable", "Keystone's answer can't be read") from error

    def _storage(self, token: dict[str, Any]) -> str:
        for service in token.get("catalog", []):
            if service["type"] != "object-store":
                continue
            for endpoint in service["endpoints"]:
                if endpoint["interface"] == "public" and self._login.region in ("", endpoint.get("region")):
                    return endpoint["url"].rstrip("/")
        raise StoreError("denied", "Keystone's catalogue names no public object-store in this region")


def _request(login: Login) -> dict[str, Any]:
    if login.credential_id:
        credential = {"id": login.credential_id, "secret": login.credential_secret}
        return {"identity": {"methods": ["application_credential"], "application_credential": credential}}
    user = {"name": login.username, "password": login.password, "domain": {"name": login.user_domain}}
    project = {"name": login.project, "domain": {"name": login.project_domain}}
    return {
        "identity": {"methods": ["password"], "password": {"user": user}},
        "scope": {"project": project},
    }


def _refused(answer: Answer) -> StoreError:
    code = "denied" if answer.status in (401, 403) else "unavailable"
    return StoreError(code, f"the login to Swift was answered {answer.status}")
