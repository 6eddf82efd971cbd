"""Which names this server answers to: another `Host` is refused, so that no foreign name is bound to this address."""

from __future__ import annotations

from collections.abc import Callable

from flask import request

from controlplane.errors import DomainError, NotFoundError, ValidationError
from controlplane.security.http import allowed_hosts, host_name
from controlplane.settings import Settings
from controlplane.web.body import check_text

# A load balancer asks by address.
ANY_HOST = frozenset({"/healthz", "/readyz"})


class UnknownHostError(DomainError):
    """The request names a host that is not this server."""

    status = 400
    code = "unknown_host"


def checker(settings: Settings) -> Callable[[], None]:
    """A function that refuses requests for other hosts, and addresses that nothing can have. See its errors there."""
    allowed = allowed_hosts(settings)

    def check() -> None:
        if "\0" in request.path or any("\ud800" <= char <= "\udfff" for char in request.path):
            raise NotFoundError
        for name, value in request.args.items(multi=True):
            try:
                check_text(name)
                check_text(value)
            except ValueError as error:
                raise ValidationError({"query": f"The address can't be read: {error}."}) from error
        if request.path not in ANY_HOST and host_name(f"//{request.host}") not in allowed:
            raise UnknownHostError(
                f"This server does not answer to {request.host[:100]!r}; set REMORA_PUBLIC_URL or REMORA_ALLOWED_HOSTS."
            )

    return check
