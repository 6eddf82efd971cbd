"""Logins of Azure Container Registry: an application's token of Entra ID, exchanged for the registry's own."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote, urlencode

from controlplane.clock import Clock
from controlplane.net.errors import AddressRefusedError, UnreachableError
from controlplane.net.fetching import Caps, Fetcher
from controlplane.registries.login import Login, LoginError, Opened

LOGINS = {"io": "https://login.microsoftonline.com", "cn": "https://login.chinacloudapi.cn",
          "us": "https://login.microsoftonline.us"}  # fmt: skip
SCOPE = "https://containerregistry.azure.net/.default"
# The name that says: the password is a token.
USER = "00000000-0000-0000-0000-000000000000"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
SHORTEST = timedelta(hours=1)


class AzureLogins:
    """Logins by what Entra ID and the registry answer.

    `directory` (last label of the registry's host) and `registry` (host) give the addresses that are asked.
    """

    def __init__(
        self,
        clock: Clock,
        fetcher: Fetcher,
        caps: Caps,
        directory: Callable[[str], str] = LOGINS.__getitem__,
        registry: Callable[[str], str] = "https://{}".format,
    ) -> None:
        self._clock = clock
        self._fetcher = fetcher
        self._caps = caps
        self._directory = directory
        self._registry = registry

    def login(self, opened: Opened, host: str) -> Login:
        """A login for `host`. Raises LoginError."""
        given = opened.configuration
        if "client_secret" not in given:
            return Login(given["username"], given["password"])
        tenant = given["tenant_id"]
        address = f"{self._directory(host.rpartition('.')[2])}/{quote(tenant)}/oauth2/v2.0/token"
        form = {
            "grant_type": "client_credentials",
            "client_id": given["client_id"],
            "client_secret": given["client_secret"],
            "scope": SCOPE,
        }
        remedy = "Look at the directory, the application and whether its secret has ended."
        token = self._ask(address, form, "Entra ID", remedy)["access_token"]
        exchange = {"grant_type": "access_token", "service": host, "tenant": tenant, "access_token": token}
        remedy = "Give the application the role AcrPull on this registry."
        refresh = self._ask(f"{self._registry(host)}/oauth2/exchange", exchange, host, remedy)["refresh_token"]
        return Login(USER, refresh, _expiry(refresh) or self._clock() + SHORTEST)

    def _ask(self, url: str, form: Mapping[str, str], who: str, remedy: str) -> Mapping[str, Any]:
        try:
            answer = self._fetcher.request(
                "POST", url, headers=FORM, content=urlencode(form).encode(), caps=self._caps, redirects=0
            )
        except AddressRefusedError as error:
            raise LoginError(error.message, is_refused=True) from error
        except UnreachableError as error:
            raise LoginError(
                f"{error.message} Look at the registry's name, then try again.", is_refused=False
            ) from error
        try:
            found = json.loads(answer.body)
            said = found.get("error_description") or found.get("errors") or found.get("error")
        except (ValueError, AttributeError):
            found, said = {}, f"it answered {answer.status}"
        if answer.status == 200 and found:
            return found
        raise LoginError(
            f"{who} refuses: {' '.join(str(said).split())[:300]}. {remedy}", is_refused=answer.status < 500
        )


def _expiry(token: str) -> datetime | None:
    """When a token ends, as it says of itself; None when it says nothing readable."""
    try:
        part = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
        return datetime.fromtimestamp(float(claims["exp"]), UTC)
    except (IndexError, ValueError, KeyError, TypeError, OverflowError, OSError):
        return None
