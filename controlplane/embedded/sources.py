"""Where each setting comes from, secrets masked."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import SecretStr

from controlplane.settings import Settings

_LOGIN = re.compile(r"(//[^:/@]*:)[^@]*@")


@dataclass(frozen=True)
class Setting:
    """One setting. source: environment | file | default."""

    name: str
    value: str
    source: str
    description: str


def sources(settings: Settings, environment: Mapping[str, str], file: Mapping[str, Any]) -> list[Setting]:
    """Every setting with its source, in the order of the reference. Pure."""
    named = {name.upper() for name in environment}
    found: list[Setting] = []
    for name, field in type(settings).model_fields.items():
        source = "environment" if f"REMORA_{name.upper()}" in named else "file" if name in file else "default"
        found.append(Setting(name, _shown(getattr(settings, name)), source, field.description or ""))
    return found


def read_sources(settings: Settings) -> list[Setting]:
    """The same, of this process and this state folder."""
    path = settings.home / "config.toml"
    file = tomllib.loads(path.read_text()) if path.exists() else {}
    return sources(settings, os.environ, file)


def _shown(value: Any) -> str:
    """An address keeps its place and loses its password; another secret is hidden whole."""
    if not isinstance(value, SecretStr):
        return "" if value is None else str(value)
    secret = value.get_secret_value()
    return _LOGIN.sub(r"\1********@", secret) if "://" in secret else "********" if secret else ""
