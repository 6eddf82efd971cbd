"""Domain errors to HTTP, in one place, in the shapes that the client tools read."""

from __future__ import annotations

from typing import Any

import structlog
from flask import Flask, Response, g, jsonify, render_template, request
from sqlalchemy.exc import DataError, IntegrityError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from werkzeug.exceptions import HTTPException

from controlplane.data.stores.base import StoreError
from controlplane.errors import DomainError, TooManyError, ValidationError

log = structlog.get_logger()


def install(app: Flask) -> None:
    """Register the handlers."""
    app.register_error_handler(DomainError, _domain)
    app.register_error_handler(HTTPException, _http)
    app.register_error_handler(IntegrityError, _conflict)
    app.register_error_handler(DataError, _unstorable)
    app.register_error_handler(StoreError, _store)
    app.register_error_handler(OperationalError, _database)
    app.register_error_handler(PoolTimeoutError, _database)
    app.register_error_handler(Exception, _defect)


def wants_json() -> bool:
    """Whether the caller is a program."""
    return request.path.startswith(("/api/", "/stream/", "/store/"))


def _domain(error: DomainError) -> Response:
    body: dict[str, Any] = {"detail": error.message, "message": error.message, "code": error.code}
    if isinstance(error, ValidationError):
        body = {name: [{"message": m, "code": c} for m, c in entries] for name, entries in error.fields.items()}
    response = _answer(body, error.status, error.message)
    if isinstance(error, TooManyError):
        response.headers["Retry-After"] = str(error.retry_after)
    if error.status == 401:
        response.headers["WWW-Authenticate"] = "Token"
    return response


def _http(error: HTTPException) -> Response:
    original = getattr(error, "original_exception", None)
    if original is not None:
        return _defect(original)
    status = error.code or 500
    message = "Not found." if status == 404 else str(error.description or error.name)
    response = _answer(
        {"detail": message, "message": message, "code": error.name.lower().replace(" ", "_")}, status, message
    )
    for name, value in error.get_headers():
        if name == "Allow":
            response.headers[name] = value
    return response


def _conflict(error: IntegrityError) -> Response:
    log.warning("write_conflict", error=type(error.orig).__name__, request=g.get("request_id"))
    message = "Somebody made the same thing at the same moment; look, and try again."
    return _answer({"detail": message, "message": message, "code": "conflict"}, 409, message)


def _store(error: StoreError) -> Response:
    """Where nobody nearer knew a better sentence."""
    log.warning("store_failed", code=error.code, why=str(error), request=g.get("request_id"))
    message = f"The store does not do this now: {error}."
    return _answer({"detail": message, "message": message, "code": f"store_{error.code}"}, 503, message)


def _unstorable(error: DataError) -> Response:
    log.warning("unstorable_value", error=type(error.orig).__name__, request=g.get("request_id"))
    message = "A value of this request is too long, too large or of the wrong kind to be stored."
    return _answer({"detail": message, "message": message, "code": "invalid"}, 400, message)


def _database(error: Exception) -> Response:
    log.error("database_unavailable", error=type(error).__name__, request=g.get("request_id"))
    message = "The database does not answer now; try again in a few seconds."
    response = _answer({"detail": message, "message": message, "code": "unavailable"}, 503, message)
    response.headers["Retry-After"] = "5"
    return response


def _defect(error: Exception) -> Response:
    log.exception("request_failed", request=g.get("request_id"), exc_info=error)
    message = f"Something broke on the server; its log has the details under {g.get('request_id')}."
    return _answer({"detail": message, "message": message, "code": "internal"}, 500, message)


def _answer(body: dict[str, Any], status: int, message: str) -> Response:
    if wants_json():
        response = jsonify(body)
    else:
        response = Response(render_template("error.html", status=status, message=message), mimetype="text/html")
    response.status_code = status
    return response
