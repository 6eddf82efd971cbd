"""A new machine becomes a machine of the control plane: database, verified release, service.

The release itself knows how it is installed (`worker_bootstrap.hosting`); what stands here is what a cloud adds.
"""

from __future__ import annotations

import json
import socket
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any
from urllib.parse import quote

from worker_bootstrap.startup.boot import certificates, machine, release, surroundings
from worker_bootstrap.startup.boot.aws import Aws
from worker_bootstrap.startup.boot.steps import StepError, command, persevere, say

RELEASE = Path("/opt/remora-start/release")
CERTIFICATE = Path("/opt/remora-start/certificate.json")
PROGRAMS = Path("/opt/remora-server")
DROP_IN = machine.UNITS / "remora-server.service.d" / "cloud.conf"
DEADLINE = "remora-deadline.timer"
DONE = Path("/run/remora-start.done")
TRY_SECONDS = 10.0
INSTALL_SECONDS = 900.0
# AWS changes the database's password by itself, every week.
PASSWORD_LOOK = 60.0


class Master:
    """What the steps of the control plane know of each other."""

    def __init__(self, settings: dict[str, Any], cloud: Aws) -> None:
        self._settings = settings
        self._cloud = cloud
        self._database = self._installed = ""
        self._agent = Path()

    def steps(self) -> list[tuple[str, Callable[[], None]]]:
        """In their order: what somebody else must mend comes before what takes long."""
        return [
            ("Proxy, authorities and mirrors", lambda: surroundings.settle(self._settings["surroundings"])),
            ("Database", self._find_database),
            ("Release of the control plane", self._fetch),
            ("Programs that it needs", self._programs),
            ("Service of the control plane", self._install),
        ]

    def follow_password(self) -> None:
        """AWS changes the database's password by itself: the service goes on with the new one."""
        self._database = self._address()
        if self._database != self._installed:
            self._install()

    def _find_database(self) -> None:
        machine.ssh(self._settings["ssh"])
        self._database = self._address()
        place = self._settings["database_host"], self._settings["database_port"]
        try:
            socket.create_connection(place, TRY_SECONDS).close()
        except OSError as error:
            raise StepError(
                f"The database {place[0]}:{place[1]} does not answer ({error}): look at its state and security group."
            ) from error

    def _address(self) -> str:
        wanted, name = self._settings, self._settings["database_secret"]
        try:
            login = json.loads(self._cloud.secret(name))
            user, password = quote(login["username"], safe=""), quote(login["password"], safe="")
        except (ValueError, KeyError, TypeError) as error:
            raise StepError(
                f"The secret {name} holds no user and password: AWS writes it with the database."
            ) from error
        place = f"{wanted['database_host']}:{wanted['database_port']}/{wanted['database_name']}"
        return f"postgresql://{user}:{password}@{place}?sslmode=require"

    def _fetch(self) -> None:
        machine.install("ca-certificates", "openssl")
        wanted, bucket, kind = self._settings, self._settings["releases_bucket"], machine.architecture()
        minor = sys.version_info.minor
        self._agent, server = release.fetch(
            lambda name, write, most: self._cloud.read_object(bucket, name, write, most),
            wanted["release_manifest"],
            RELEASE,
            wanted["release_keys"],
            wanted["minimum_release"],
            {kind: kind, f"server-cp3{minor}-{kind}": f"the control plane ({kind}, Python 3.{minor})"},
        )
        PROGRAMS.mkdir(exist_ok=True)
        server.replace(PROGRAMS / "server.zip")

    @staticmethod
    def _programs() -> None:
        # The distribution's own service is not the one that the control plane starts.
        command("systemctl", "mask", "redis-server.service")
        machine.install("git", "openssh-client", "redis-server")

    def _install(self) -> None:
        """By the release's own order, which may be given twice."""
        machine.write(DROP_IN, drop_in(self._settings["surroundings"]))
        request = {
            "dashboard": f"https://{self._settings['domain']}",
            "port": self._settings["port"],
            "document": self._settings["document"],
            "database": self._database,
            **self._certificate(),
        }
        hosting = "PEX_MODULE=worker_bootstrap.hosting"
        command("env", hosting, str(self._agent), "master", given=json.dumps(request), seconds=INSTALL_SECONDS)
        self._installed = self._database

    def _certificate(self) -> dict[str, str]:
        """The machine's own, for the way from the load balancer, which asks for TLS and not for a name."""
        if not CERTIFICATE.exists():
            authority = certificates.authority(f"Remora {self._settings['installation']} control plane")
            pair = certificates.server(authority, [self._settings["domain"]])
            machine.write(CERTIFICATE, json.dumps(asdict(pair)), 0o600)
        return json.loads(CERTIFICATE.read_text())


def drop_in(around: Mapping[str, Any]) -> str:
    """What a cloud adds to the service: a load balancer before it, the network around it, its words on the console."""
    values = {"REMORA_TRUSTED_PROXIES": "1"}
    if around["proxy"]:
        direct = ",".join([*surroundings.DIRECT, *around["no_proxy"]])
        values |= {"HTTP_PROXY": around["proxy"], "HTTPS_PROXY": around["proxy"], "NO_PROXY": direct}
    if around["ca_bundle"]:
        values["REMORA_CA_BUNDLE"] = surroundings.BUNDLE
    lines = [f'Environment="{name}={value}"' for name, value in values.items()]
    return "\n".join(["[Service]", *lines, "StandardOutput=journal+console", "StandardError=journal+console", ""])


def main() -> None:
    """All steps; then look after the password."""
    settings = machine.settings()
    pauses = settings["pauses"]["first"], settings["pauses"]["most"]
    say(f"Remora {settings['installation']}: this machine becomes a machine of the control plane.")
    master = Master(settings, Aws(settings["place"]))
    persevere(master.steps(), *pauses)
    DONE.touch()
    command("systemctl", "disable", "--quiet", "--now", DEADLINE)
    say(f"The control plane runs here, behind https://{settings['domain']}.")
    while True:
        time.sleep(PASSWORD_LOOK)
        try:
            master.follow_password()
        except (StepError, OSError) as error:
            say(f"Password of the database: {error}")
