"""Addresses of a queue: where plain connections are allowed, and what a failed TLS handshake means."""

from __future__ import annotations

import ipaddress
import socket
import ssl
from dataclasses import dataclass
from urllib.parse import urlsplit

# What the TLS library says, in the order of looking, and what it means to a person.
_MEANINGS = (
    ("hostname mismatch", "the queue's certificate is for another host name than the one in its address"),
    ("ip address mismatch", "the queue's certificate is for another address than the one it is reached by"),
    ("certificate_verify_failed", "the queue's certificate is not of the authority that is trusted here (ca)"),
    ("certificate_required", "the queue demands a client certificate and none was shown: set certificate and key"),
    ("alert_unknown_ca", "the queue does not know the authority of the client certificate that was shown"),
    ("alert_bad_certificate", "the queue refuses the client certificate that was shown"),
    ("alert_certificate_expired", "the client certificate has expired"),
    ("wrong_version_number", "the queue does not speak TLS there: its address begins with rediss:// by mistake"),
)

# An end of the connection that may be the other side's refusal: what it said was lost behind our own first words.
_CUT_OFF = ("eof occurred", "connection reset", "connection closed", "broken pipe")
PROBE_SECONDS = 2.0


@dataclass(frozen=True)
class TlsLine:
    """How a queue is reached: its address, and the PEM files that are used with it."""

    url: str
    ca: str = ""
    certificate: str = ""
    key: str = ""


def plain_problem(url: str) -> str:
    """Why this address of a queue must not be used, with the remedy; empty when it may be."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme == "rediss" or is_loopback(host):
        return ""
    return (
        f"{parts.scheme}://{host} is reached over a network without TLS: use rediss://, with the queue's authority "
        "and a client certificate (plain redis:// is for the loopback only)"
    )


def is_loopback(host: str) -> bool:
    """Whether this name or address can only be this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def explain(error: BaseException, line: TlsLine | None = None) -> str:
    """The error's text; behind a plain sentence when it is about certificates.

    With TLS 1.3 a refused client learns of it after the handshake only: the line is then opened once more to hear it.
    """
    text = str(error)
    is_cut_off = any(mark in text.lower() for mark in _CUT_OFF)
    if line is not None and line.url.startswith("rediss://") and is_cut_off:
        text = _refusal(line) or text
    shape = text.lower().replace(" ", "_")
    for mark, meaning in _MEANINGS:
        if mark.replace(" ", "_") in shape:
            return f"{meaning} ({text})"
    return text


def _refusal(line: TlsLine) -> str:
    """What the other side answers to our certificates when nothing else is said; empty when it says nothing."""
    parts = urlsplit(line.url)
    host = parts.hostname or ""
    try:
        context = ssl.create_default_context(cafile=line.ca or None)
        if line.certificate:
            context.load_cert_chain(line.certificate, line.key)
        plain = socket.create_connection((host, parts.port or 6379), PROBE_SECONDS)
        with plain, context.wrap_socket(plain, server_hostname=host) as secure:
            secure.recv(1)
    except TimeoutError:
        return ""
    except OSError as error:
        return str(error)
    return ""
