"""Files of the services of queue, store and control plane. Pure, but for looking whose an address is."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Sequence
from pathlib import Path

CHAIN = "REMORA-QUEUE"
EVERYWHERE = "* -::*"

REDIS = """\
# Written by the installer; what is changed here is written again by the next `up`.
bind {bind}
port 0
tls-port {port}
tls-cert-file {settings}/server.pem
tls-key-file {settings}/server.key
tls-ca-cert-file {settings}/ca.pem
tls-auth-clients yes
tls-protocols "TLSv1.2 TLSv1.3"
protected-mode no
dir {state}
aclfile {settings}/users.acl
appendonly yes
appendfsync everysec
save ""
maxmemory {memory}
maxmemory-policy noeviction
supervised systemd
daemonize no
logfile ""
"""

HARDENED = """\
NoNewPrivileges=yes
PrivateTmp=yes
ProtectSystem=strict
ProtectHome=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6
RestrictSUIDSGID=yes
LockPersonality=yes
"""

UNIT = """\
# Written by the installer; changes belong into a drop-in (systemctl edit {name}).
[Unit]
Description={what}
Wants=network-online.target
After=network-online.target
StartLimitIntervalSec=0

[Service]
Type={kind}
User={user}
{runs}Restart=always
RestartSec=2
UMask=0077
LimitNOFILE=65536
ReadWritePaths={writes}
{hardened}
[Install]
WantedBy=multi-user.target
"""

QUEUE = """\
ExecStartPre=+{fence} up
ExecStart={program} {settings}/redis.conf
ExecReload=+{fence} up
ExecStopPost=+{fence} down
"""

STORE = """\
EnvironmentFile={settings}/environment
ExecStart={program} --quiet posix --sidecar {data}/attributes {data}/buckets
"""

MASTER = """\
EnvironmentFile={settings}/environment
WorkingDirectory={state}
ExecStart={current}/bin/remora server run
# The supervisor alone is asked to end: it ends its processes in their order.
KillMode=mixed
TimeoutStopSec=90
"""
MASTER_HARDENED = """\
AmbientCapabilities={capability}
CapabilityBoundingSet={capability}
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectControlGroups=yes
RestrictRealtime=yes
RestrictNamespaces=yes
SystemCallArchitectures=native
"""

COMMAND = """\
#!/bin/sh
# The command of this machine's control plane, as its user: remora server status
set -eu
set -a
. {settings}/environment
HOME={state}
set +a
cd {state}
exec runuser -u {user} -- {current}/bin/remora "$@"
"""
LOW_PORTS = 1024

FENCE = """\
#!/bin/sh
# Who may reach the queue's port; the queue's unit puts it up and takes it down.
set -u
take_down() {{
    while "$1" -w -D INPUT -p tcp -m tcp --dport {port} -j {chain} 2>/dev/null; do :; done
    "$1" -w -S INPUT 2>/dev/null | grep -e '-j {chain}$' | sed 's/^-A/-D/' | while read -r rule; do
        # shellcheck disable=SC2086
        "$1" -w $rule
    done
    "$1" -w -F {chain} 2>/dev/null
    "$1" -w -X {chain} 2>/dev/null
    return 0
}}
put_up() {{
    command=$1
    shift
    "$command" -w -N {chain} || return 1
    "$command" -w -A {chain} -i lo -j RETURN || return 1
    for network in "$@"; do
        "$command" -w -A {chain} -s "$network" -j RETURN || return 1
    done
    "$command" -w -A {chain} -j DROP || return 1
    "$command" -w -I INPUT 1 -p tcp -m tcp --dport {port} -j {chain}
}}
take_down iptables
[ -e /proc/net/if_inet6 ] && take_down ip6tables
[ "$1" = up ] || exit 0
put_up iptables {four} || exit 1
[ -e /proc/net/if_inet6 ] || exit 0
put_up ip6tables {six}
"""


def redis_config(settings: Path, state: Path, port: int, bound: str, memory: int) -> str:
    """redis.conf."""
    return REDIS.format(settings=settings, state=state, port=port, bind=bound, memory=memory)


def unit(user: str, program: str, settings: Path, state: Path, fence_file: Path) -> str:
    """The queue's unit."""
    runs = QUEUE.format(program=program, settings=settings, fence=fence_file)
    what = "Remora queue: a Redis for the workers of this installation"
    return UNIT.format(
        name="remora-queue", what=what, kind="notify", user=user, runs=runs, writes=state, hardened=HARDENED
    )


def store_unit(user: str, program: Path, settings: Path, data: Path) -> str:
    """The store's unit."""
    runs = STORE.format(program=program, settings=settings, data=data)
    what = "Remora store: objects of this installation, over S3"
    return UNIT.format(
        name="remora-store", what=what, kind="exec", user=user, runs=runs, writes=data, hardened=HARDENED
    )


def master_unit(user: str, current: Path, settings: Path, state: Path, port: int) -> str:
    """The control plane's unit; a port that only root may open needs one capability."""
    runs = MASTER.format(current=current, settings=settings, state=state)
    what = "Remora server: dashboard, API and loops of this installation"
    hardened = MASTER_HARDENED.format(capability="CAP_NET_BIND_SERVICE" if port < LOW_PORTS else "") + HARDENED
    return UNIT.format(
        name="remora-server", what=what, kind="exec", user=user, runs=runs, writes=state, hardened=hardened
    )


def master_command(user: str, current: Path, settings: Path, state: Path) -> str:
    """A script that runs the control plane's command with the settings of the service."""
    return COMMAND.format(user=user, current=current, settings=settings, state=state)


def master_environment(settings: Path, state: Path, dashboard: str, port: int, database: str) -> str:
    """Settings of the control plane, for systemd and for a shell. Raises ValueError for what neither takes."""
    values = {
        "REMORA_HOME": state,
        "REMORA_BIND": "0.0.0.0",  # noqa: S104
        "REMORA_PORT": port,
        "REMORA_PUBLIC_URL": dashboard,
        "REMORA_TLS_CERTIFICATE": settings / "server.pem",
        "REMORA_TLS_KEY": settings / "server.key",
        "REMORA_EMBEDDED_WORKER": "false",
    }
    if database:
        values["REMORA_DATABASE_URL"] = database
    for name, value in values.items():
        if set(str(value)) & set("'\n\\"):
            raise ValueError(f"{name} may hold no quote, backslash or second line: write %27 or %5C instead")
    return "".join(f"{name}='{value}'\n" for name, value in values.items())


def fence(port: int, allowed: Sequence[str]) -> str:
    """A script that puts the fence `up` or takes it `down`. Raises ValueError for what is no network."""
    networks = [ipaddress.ip_network(one) for one in allowed]
    four, six = (sorted({str(one) for one in networks if one.version == version}) for version in (4, 6))
    return FENCE.format(port=int(port), chain=CHAIN, four=" ".join(four), six=" ".join(six))


def bind(address: str) -> str:
    """What Redis listens on: this machine's own address where it is one, else all (the fence stands before them)."""
    try:
        found = ipaddress.ip_address(address)
        family = socket.AF_INET if found.version == 4 else socket.AF_INET6
        with socket.socket(family) as probe:
            probe.bind((address, 0))
    except (ValueError, OSError):
        return EVERYWHERE
    return f"127.0.0.1 {address}" if not found.is_loopback else address
