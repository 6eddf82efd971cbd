"""What an installer must know of this control plane: no secret, but an external id that nobody else was given."""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from controlplane.embedded.files import kept_secret, private_folder
from controlplane.errors import ValidationError

CLOUDS = ("aws",)
_ARN = re.compile(r"arn:aws[a-z-]*:iam::\d{12}:(role|user)/.+|arn:aws[a-z-]*:sts::\d{12}:assumed-role/.+")
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")


def invite(
    dashboard: str,
    addresses: Sequence[str],
    release_keys: Sequence[str],
    cloud: str,
    principal: str,
    keys: Path,
    name: str,
) -> dict[str, Any]:
    """The object `master`. With a cloud it has an external id, made once for each name in the folder `keys`.

    Raises ValidationError, OSError.
    """
    made: dict[str, Any] = {
        "dashboard": _origin(dashboard),
        "addresses": [_network(one) for one in addresses],
        "release_keys": list(release_keys),
    }
    if not cloud:
        return made
    if not _ARN.fullmatch(principal):
        raise ValidationError({"principal": "With --cloud aws name the ARN of the role that this control plane has."})
    if not _NAME.fullmatch(name):
        raise ValidationError({"name": "With --cloud name the installation: lower-case letters, digits and hyphens."})
    # One for each installation: nobody who learns one can have another installation's role taken on.
    return {**made, "principal": principal, "external_id": kept_secret(private_folder(keys) / f"external-id-{name}")}


def yaml_text(master: dict[str, Any]) -> str:
    """As a part of a stack's configuration; JSON strings are YAML."""
    lines = ["master:"]
    for name, value in master.items():
        if isinstance(value, list):
            lines.append(f"  {name}:")
            lines.extend(f"    - {json.dumps(one)}" for one in value)
        else:
            lines.append(f"  {name}: {json.dumps(value)}")
    return "\n".join(lines)


def _origin(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValidationError({"dashboard": f"{text!r}: an address such as https://remora.example.com is expected."})
    return f"{parts.scheme}://{parts.netloc}"


def _network(text: str) -> str:
    try:
        return str(ipaddress.ip_network(text))
    except ValueError:
        raise ValidationError(
            {"address": f"{text!r}: a network such as 203.0.113.0/24 or 203.0.113.7/32 is expected."}
        ) from None
