"""Which flavour on which provider, and its object of settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from stacks.config.aws import PrivateWorkerAws
from stacks.config.base import ConfigError, Part, read_part, suggest
from stacks.config.common import Advanced
from stacks.config.ssh import OnPremSsh, SelfHostedSsh

# What each flavour may stand on; None: designed, not built.
FLAVOURS: dict[str, dict[str, type[Part] | None]] = {
    "private_worker": {"aws": PrivateWorkerAws, "gcp": None, "azure": None, "openstack": None},
    "on_prem": {"ssh": OnPremSsh},
    "self_hosted": {"aws": None, "ssh": SelfHostedSsh, "gcp": None, "azure": None, "openstack": None},
    "saas": {"aws": None, "gcp": None, "azure": None},
}


@dataclass(frozen=True)
class Choice:
    """A configuration that was checked: everything that needs no cloud to be known."""

    flavour: str
    provider: str
    settings: Any
    advanced: Advanced


def choose(values: Mapping[str, object]) -> Choice:
    """The configuration of a stack (keys without the project's name). Raises ConfigError with all that is wrong."""
    flavour, provider = str(values.get("flavour") or ""), str(values.get("provider") or "")
    kind = _kind(flavour, provider)
    known = {"flavour", "provider", "advanced", flavour}
    problems = {key: f"There is no such key.{suggest(key, known)}" for key in values if key not in known}
    settings = _collect(kind, values.get(flavour), flavour, problems)
    advanced = _collect(Advanced, values.get("advanced"), "advanced", problems)
    if problems:
        raise ConfigError(problems)
    return Choice(flavour, provider, settings, advanced)


def _collect(kind: type[Part], values: object, key: str, problems: dict[str, str]) -> Any:
    try:
        return read_part(kind, values, key)
    except ConfigError as error:
        problems.update(error.problems)
        return None


def _kind(flavour: str, provider: str) -> type[Part]:
    if flavour not in FLAVOURS:
        raise ConfigError({"flavour": f"{flavour!r} is none of {', '.join(FLAVOURS)}.{suggest(flavour, FLAVOURS)}"})
    offered = FLAVOURS[flavour]
    if provider not in offered:
        raise ConfigError({"provider": f"{provider!r} is none of {', '.join(offered)}.{suggest(provider, offered)}"})
    kind = offered[provider]
    if kind is None:
        built = [name for name, one in offered.items() if one is not None]
        instead = f"built so far: {', '.join(built)}" if built else "nothing of this flavour is built so far"
        raise ConfigError({"provider": f"{flavour} on {provider} is not there yet; {instead}."})
    return kind
