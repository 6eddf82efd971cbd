"""A new machine becomes the workers' queue: it makes its secrets, and writes them to the cloud's secret store."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import socket
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from worker_bootstrap.protocol import names
from worker_bootstrap.startup.boot import certificates, machine, queue_files, surroundings
from worker_bootstrap.startup.boot.aws import Aws
from worker_bootstrap.startup.boot.certificates import Pair
from worker_bootstrap.startup.boot.steps import StepError, command, persevere, say

UNIT = "remora-queue.service"
FOLDER = Path(queue_files.FOLDER)
# The list of groups whose secrets are written: the last step, so that a machine that has it is whole.
WRITTEN = FOLDER / "groups.json"
OLDEST_REDIS = 7
SHARE = 0.6
TRY_SECONDS = 10.0


class Queue:
    """What the steps of the queue know of each other."""

    def __init__(self, settings: dict[str, Any], cloud: Aws) -> None:
        self._settings = settings
        self._cloud = cloud
        self._state: dict[str, Any] = {}
        self._listed = ""
        self._groups: dict[str, str] = {}

    def steps(self) -> list[tuple[str, Callable[[], None]]]:
        """In their order: whoever reads a secret finds a queue that answers."""
        return [
            ("Proxy, authorities and mirrors", lambda: surroundings.settle(self._settings["surroundings"])),
            ("Redis", self._redis),
            ("Worker groups", self._look),
            ("Passwords and certificates", self._keep_state),
            ("Service of the queue", self._serve),
            ("Secrets of control plane and groups", self._publish),
        ]

    def follow(self) -> None:
        """Write what groups need that came since; what runs is not touched. Raises StepError, OSError."""
        self._look()
        if WRITTEN.is_file() and WRITTEN.read_text() == self._listed:
            return
        self._keep_state()
        self._publish()
        say(f"Worker groups: {', '.join(self._groups)}; their secrets are written.")

    def _look(self) -> None:
        place = self._settings["groups_parameter"]
        self._listed = self._cloud.parameter(place)
        try:
            self._groups = queue_files.groups_in(self._listed)
        except ValueError as error:
            raise StepError(f"The parameter {place} names no groups ({error}): `pulumi up` writes it.") from error

    def _redis(self) -> None:
        machine.ssh(self._settings["ssh"])
        # The distribution's own service would listen without TLS.
        command("systemctl", "mask", "redis-server.service")
        machine.install("ca-certificates", "openssl", "redis-server")
        version = command("redis-server", "--version").partition("v=")[2].split()[0]
        if int(version.split(".")[0]) < OLDEST_REDIS:
            raise StepError(f"The image's Redis is {version}, 7 is needed: choose Debian 12 or Ubuntu 24.04.")

    def _keep_state(self) -> None:
        """Taken over from the machine before, or made; in the secret store before anybody uses it."""
        place = self._settings["state_secret"]
        try:
            known = json.loads(self._cloud.secret(place) or "{}")
        except ValueError:
            raise StepError(f"The secret {place} holds no JSON: empty it, and all is made anew.") from None
        state = queue_files.whole_state(known, self._groups)
        if "ca" not in state:
            authority = certificates.authority(f"Remora {self._settings['installation']} queue")
            state["ca"], state["ca_key"] = authority.certificate, authority.key
            made = {name: certificates.client(authority, name) for name in (names.MASTER_USER, "worker")}
            state["clients"] = {name: dataclasses.asdict(pair) for name, pair in made.items()}
        if state != known:
            self._cloud.keep_secret(place, json.dumps(state))
        self._state = state

    def _serve(self) -> None:
        state, wanted = self._state, self._settings
        server = certificates.server(Pair(state["ca"], state["ca_key"]), wanted["hosts"])
        memory = wanted["memory"] or int(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") * SHARE)
        texts = {
            "ca.pem": state["ca"],
            "server.pem": server.certificate,
            "server.key": server.key,
            "users.acl": queue_files.users(state),
            "redis.conf": queue_files.config(wanted["port"], memory),
        }
        FOLDER.mkdir(mode=0o750, exist_ok=True)
        shutil.chown(FOLDER, "root", "redis")
        for name, text in texts.items():
            machine.write(FOLDER / name, text, 0o640)
            shutil.chown(FOLDER / name, "root", "redis")
        machine.write(machine.UNITS / UNIT, queue_files.unit())
        command("systemctl", "daemon-reload")
        command("systemctl", "enable", "--quiet", UNIT)
        command("systemctl", "restart", UNIT)
        self._try()

    def _try(self) -> None:
        """Come in as the control plane will: by certificate, name and password."""
        wanted, state = self._settings, self._state
        pair = state["clients"][names.MASTER_USER]
        context = ssl.create_default_context(cadata=state["ca"])
        with certificates.files(Pair(**pair)) as (certificate, key):
            context.load_cert_chain(certificate, key)
        try:
            with (
                socket.create_connection(("127.0.0.1", wanted["port"]), TRY_SECONDS) as plain,
                context.wrap_socket(plain, server_hostname=wanted["hosts"][0]) as line,
            ):
                line.sendall(f"AUTH {names.MASTER_USER} {state['passwords'][names.MASTER_USER]}\r\nPING\r\n".encode())
                said = b""
                while said.count(b"\r\n") < 2 and (more := line.recv(4096)):
                    said += more
        except OSError as error:
            raise StepError(f"The queue does not answer ({error}): `journalctl -u {UNIT}` says why.") from error
        if said != b"+OK\r\n+PONG\r\n":
            raise StepError(f"The queue refuses the control plane: {said[:100].decode(errors='replace')}")

    def _publish(self) -> None:
        wanted, state = self._settings, self._state
        host = wanted["hosts"][0]
        url = f"rediss://{f'[{host}]' if ':' in host else host}:{wanted['port']}"
        values = {wanted["master_secret"]: queue_files.master_secret(state)}
        for slug, place in self._groups.items():
            values[place] = queue_files.join_credential(state, slug, url, wanted["release_keys"])
        for place, value in values.items():
            if self._cloud.secret(place) != value:
                self._cloud.keep_secret(place, value)
        machine.write(WRITTEN, self._listed, 0o600)


def main() -> None:
    """All steps, once; from then on look for groups that come later."""
    settings = machine.settings()
    queue = Queue(settings, Aws(settings["place"]))
    if not WRITTEN.is_file():
        pauses = settings["pauses"]
        say(f"Remora {settings['installation']}: this machine becomes the workers' queue.")
        persevere(queue.steps(), pauses["first"], pauses["most"])
        say(f"The queue listens on port {settings['port']} as {', '.join(settings['hosts'])}; its secrets are written.")
    while True:
        time.sleep(settings["groups_every"])
        try:
            queue.follow()
        except (StepError, OSError) as error:
            say(f"Worker groups: {error}")
