"""What every answer carries, errors too."""

from __future__ import annotations

from flask import Response, g, request

from controlplane.security.http import CONTENT_SECURITY_POLICY, ONLY_HTTPS, STRICT


def secure(response: Response) -> Response:
    """Strict headers on this response."""
    headers = response.headers
    headers.setdefault("Content-Security-Policy", CONTENT_SECURITY_POLICY)
    headers.update(STRICT)
    headers["X-Request-Id"] = g.get("request_id", "")
    if request.endpoint != "static":
        headers.setdefault("Cache-Control", "no-store")
    if request.is_secure:
        headers["Strict-Transport-Security"] = ONLY_HTTPS
    return response
