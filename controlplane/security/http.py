"""What every HTTP answer of ours carries, and which names a server answers to. `web` and `stream` share it."""

from __future__ import annotations

from urllib.parse import urlsplit

from controlplane.settings import Settings

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; font-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
STRICT = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}
ONLY_HTTPS = "max-age=31536000; includeSubDomains"


def allowed_hosts(settings: Settings) -> frozenset[str]:
    """Names and addresses under which this server may be reached."""
    named = {name.strip().lower() for name in settings.allowed_hosts.split(",") if name.strip()}
    return LOOPBACK | {host_name(settings.public_url)} | named


def host_name(url: str) -> str:
    """The name in an address, without port; empty when it can't be read."""
    try:
        return (urlsplit(url).hostname or "").lower()
    except ValueError:
        return ""
