"""Files and secrets of the queue, as texts. Pure."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from worker_bootstrap.credential import JoinCredential
from worker_bootstrap.protocol import names

FOLDER = "/etc/remora-queue"
DATA = "/var/lib/remora-queue"
SECRET_BYTES = 32

CONFIG = """\
bind * -::*
port 0
tls-port {port}
tls-cert-file {folder}/server.pem
tls-key-file {folder}/server.key
tls-ca-cert-file {folder}/ca.pem
tls-auth-clients yes
tls-protocols "TLSv1.2 TLSv1.3"
aclfile {folder}/users.acl
dir {data}
appendonly yes
appendfsync everysec
save ""
maxmemory {memory}
maxmemory-policy noeviction
daemonize no
supervised systemd
logfile ""
"""

UNIT = """\
[Unit]
Description=Remora: the workers' queue
Wants=network-online.target
After=network-online.target

[Service]
Type=notify
ExecStart=/usr/bin/redis-server {folder}/redis.conf
User=redis
Group=redis
StateDirectory=remora-queue
StateDirectoryMode=0700
Restart=always
RestartSec=2
LimitNOFILE=65536
CapabilityBoundingSet=
NoNewPrivileges=yes
PrivateTmp=yes
ProtectSystem=full
ProtectHome=yes
ProtectKernelModules=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6
RestrictSUIDSGID=yes

[Install]
WantedBy=multi-user.target
"""


def groups_in(text: str) -> dict[str, str]:
    """Worker groups of the parameter's text: slug to the name of a secret. Raises ValueError."""
    found = json.loads(text)
    if not isinstance(found, dict) or not all(isinstance(place, str) and place for place in found.values()):
        raise ValueError("an object of groups and the names of their secrets is expected")
    return found


def whole_state(known: Mapping[str, Any], groups: Iterable[str]) -> dict[str, Any]:
    """What is known, and passwords and join secrets that are missing; certificates are made elsewhere."""
    passwords = known.get("passwords", {})
    joins = known.get("join_secrets", {})
    return {
        **known,
        "passwords": {user: passwords.get(user) or new_secret() for user in (names.MASTER_USER, names.JOIN_USER)},
        "join_secrets": {**joins, **{slug: joins.get(slug) or new_secret() for slug in groups}},
    }


def new_secret() -> str:
    """A password that nobody chose."""
    return secrets.token_urlsafe(SECRET_BYTES)


def config(port: int, memory: int) -> str:
    """redis.conf; `memory` in bytes."""
    return CONFIG.format(port=port, memory=memory, folder=FOLDER, data=DATA)


def unit() -> str:
    """The service."""
    return UNIT.format(folder=FOLDER)


def users(state: Mapping[str, Any]) -> str:
    """The ACL file: nobody comes in without a name. Hashes only."""
    hashed = {user: hashlib.sha256(text.encode()).hexdigest() for user, text in state["passwords"].items()}
    master, join = names.master_acl(hashed[names.MASTER_USER]), names.join_acl(hashed[names.JOIN_USER])
    lines = [("default", ["reset", "off"]), (names.MASTER_USER, master), (names.JOIN_USER, join)]
    return "".join(f"user {user} {' '.join(rules)}\n" for user, rules in lines)


def master_secret(state: Mapping[str, Any]) -> str:
    """What the control plane reads, field by field: password, ca, certificate, key, join_secret.GROUP."""
    fields = {
        "password": state["passwords"][names.MASTER_USER],
        "ca": state["ca"],
        **state["clients"][names.MASTER_USER],
        **{f"join_secret.{slug}": text for slug, text in sorted(state["join_secrets"].items())},
    }
    return json.dumps(fields)


def join_credential(state: Mapping[str, Any], group: str, url: str, release_keys: Sequence[str]) -> str:
    """The line with which a machine of `group` asks to join."""
    return JoinCredential(
        queue_url=url,
        group=group,
        join_password=state["passwords"][names.JOIN_USER],
        join_secret=state["join_secrets"][group],
        release_keys=list(release_keys),
        ca=state["ca"],
        **state["clients"]["worker"],
    ).encode()
