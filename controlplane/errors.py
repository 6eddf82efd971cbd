"""Errors of the domain. `web/errors.py` maps them to HTTP, once."""

from __future__ import annotations

from typing import Any


class DomainError(Exception):
    """Base: `code` is stable for programs, the message is a sentence for people, with the remedy in it."""

    status = 400
    code = "error"

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        if code:
            self.code = code


class ValidationError(DomainError):
    """Bad input. `fields`: {field: [(message, code), …]}; nested by dotted names."""

    code = "invalid"

    def __init__(self, fields: dict[str, Any]) -> None:
        self.fields = {name: _entries(value) for name, value in fields.items()}
        first = next(iter(self.fields.items()))
        super().__init__(f"{first[0]}: {first[1][0][0]}")


class NotFoundError(DomainError):
    """No such thing, or none that this person may know of."""

    status = 404
    code = "not_found"

    def __init__(self, message: str = "Not found.") -> None:
        super().__init__(message)


class NotAuthenticatedError(DomainError):
    """Nobody is signed in."""

    status = 401
    code = "not_authenticated"

    def __init__(self, message: str = "Sign in, or send a token: 'Authorization: Token …'.") -> None:
        super().__init__(message)


class PermissionDeniedError(DomainError):
    """Known, but not allowed."""

    status = 403
    code = "permission_denied"


class ConflictError(DomainError):
    """The state of things forbids it now."""

    status = 409
    code = "conflict"


class TooLargeError(DomainError):
    """Above a cap."""

    status = 413
    code = "too_large"


class TooManyError(DomainError):
    """Above a rate. `retry_after` is seconds."""

    status = 429
    code = "throttled"

    def __init__(self, message: str, retry_after: int) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class NotBuiltError(DomainError):
    """A call that this version does not answer yet."""

    status = 501
    code = "not_implemented"


class UnavailableError(DomainError):
    """A part that the control plane needs does not answer now."""

    status = 503
    code = "unavailable"


def _entries(value: Any) -> list[tuple[str, str]]:
    """One message, (message, code) or a list of these, as a list of pairs."""
    if isinstance(value, str):
        return [(value, "invalid")]
    if isinstance(value, tuple):
        return [(str(value[0]), str(value[1]))]
    return [entry if isinstance(entry, tuple) else (str(entry), "invalid") for entry in value]
