"""The network that a machine stands in: proxy, certificate authorities and mirrors of packages and images."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from worker_bootstrap.startup.boot import machine
from worker_bootstrap.startup.boot.steps import command

AUTHORITIES = Path("/usr/local/share/ca-certificates/remora.crt")
BUNDLE = "/etc/ssl/certs/ca-certificates.crt"
APT_PROXY = Path("/etc/apt/apt.conf.d/90remora")
APT_LIST = Path("/etc/apt/sources.list")
APT_SOURCES = Path("/etc/apt/sources.list.d/remora.sources")
BEFORE = ".before-remora"
DOCKER = Path("/etc/docker/daemon.json")
DOCKER_PROXY = machine.UNITS / "docker.service.d" / "remora.conf"
# The machine itself, and what answers about it, is never asked through a proxy.
DIRECT = ("localhost", "127.0.0.1", "169.254.169.254")


def settle(wanted: Mapping[str, Any]) -> None:
    """Everything that is installed or fetched later goes this way. Raises StepError, OSError."""
    if wanted["ca_bundle"] and machine.write(AUTHORITIES, wanted["ca_bundle"]):
        command("update-ca-certificates")
    if wanted["proxy"]:
        _proxy(wanted["proxy"], [*DIRECT, *wanted["no_proxy"]])
    if wanted["apt_mirror"]:
        _mirror(wanted["apt_mirror"].rstrip("/"))
    if wanted["image_mirror"]:
        known = json.loads(DOCKER.read_text()) if DOCKER.exists() else {}
        known["registry-mirrors"] = [f"https://{wanted['image_mirror']}"]
        machine.write(DOCKER, json.dumps(known, indent=1))


def _proxy(proxy: str, direct: list[str]) -> None:
    values = {"http_proxy": proxy, "https_proxy": proxy, "no_proxy": ",".join(direct)}
    os.environ.update(values)
    machine.write(APT_PROXY, f'Acquire::http::Proxy "{proxy}";\nAcquire::https::Proxy "{proxy}";\n')
    lines = [f'Environment="{name.upper()}={value}"' for name, value in values.items()]
    machine.write(DOCKER_PROXY, "\n".join(["[Service]", *lines, ""]))


def _mirror(base: str) -> None:
    """The one source of packages from now on; what was there before stays beside it under another name."""
    lines = Path("/etc/os-release").read_text().splitlines()
    system = {name: value.strip('"') for name, _, value in (line.partition("=") for line in lines)}
    for old in [APT_LIST, *APT_SOURCES.parent.glob("*")]:
        if old.is_file() and old != APT_SOURCES and old.suffix != BEFORE:
            old.rename(old.with_name(f"{old.name}{BEFORE}"))
    machine.write(APT_SOURCES, sources(base, system["ID"], system["VERSION_CODENAME"]))


def sources(base: str, system: str, name: str) -> str:
    """Sources of packages on a mirror. Debian's updates for security lie beside its archive, Ubuntu's in it. Pure."""
    if system == "debian":
        places = {base: f"{name} {name}-updates", f"{base}-security": f"{name}-security"}
        parts = "main"
    else:
        places = {base: f"{name} {name}-updates {name}-security"}
        parts = "main restricted universe"
    keyring = f"/usr/share/keyrings/{system}-archive-keyring.gpg"
    return "\n".join(
        f"Types: deb\nURIs: {place}\nSuites: {suites}\nComponents: {parts}\nSigned-By: {keyring}\n"
        for place, suites in places.items()
    )
