"""What an attempt's container may not reach, as iptables rules by its bridge.

Two chains, REMORA-IN (called from INPUT) and REMORA-FWD (called from DOCKER-USER), send what enters by an
attempt's bridge to two chains of that attempt. What stands is looked at first, and what is missing made in one piece:
doing it twice changes nothing.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from worker_bootstrap.agent.runtime.base import NetworkError, Problem

INPUT_CHAIN = "REMORA-IN"
FORWARD_CHAIN = "REMORA-FWD"
# Metadata services: link-local (AWS, GCP, Azure, OpenStack), Alibaba, Oracle, Azure's host agent.
METADATA = ("169.254.0.0/16", "100.100.100.200/32", "192.0.0.192/32", "168.63.129.16/32")
RESOLVER_FILES = (Path("/etc/resolv.conf"), Path("/run/systemd/resolve/resolv.conf"))
COMMAND_SECONDS = 30
TRIES = 3
LOOPBACK = ["-i", "lo", "-j", "RETURN"]


@dataclass(frozen=True)
class Fence:
    """What is fenced in: a bridge, its gateway, the relay's port (0: none yet) and what stays allowed."""

    bridge: str
    gateway: str
    pool: str
    relay_port: int = 0
    resolvers: tuple[str, ...] = ()
    allow: tuple[tuple[str, int], ...] = ()


def input_chain(bridge: str) -> str:
    """Chain for packets from the bridge to this machine."""
    return f"RM-I-{bridge}"


def forward_chain(bridge: str) -> str:
    """Chain for packets from the bridge to elsewhere."""
    return f"RM-F-{bridge}"


def restore_text(fence: Fence, refuse: str = "REJECT", missing: Sequence[tuple[str, list[str]]] = ()) -> str:
    """Both chains of an attempt and its `missing` jumps in the format of iptables-restore. Pure."""
    inward, outward = input_chain(fence.bridge), forward_chain(fence.bridge)
    lines = ["*filter", f":{inward} - [0:0]", f":{outward} - [0:0]"]
    lines.append(f"-A {inward} -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT")
    if fence.relay_port:
        lines.append(f"-A {inward} -d {fence.gateway}/32 -p tcp -m tcp --dport {fence.relay_port} -j ACCEPT")
    for resolver in fence.resolvers:
        for protocol in ("udp", "tcp"):
            rule = f"-d {resolver}/32 -p {protocol} -m {protocol} --dport 53"
            lines.append(f"-A {inward} {rule} -j ACCEPT")
            lines.append(f"-A {outward} {rule} -j RETURN")
    lines.extend(f"-A {inward} -d {host}/32 -p tcp -m tcp --dport {port} -j ACCEPT" for host, port in fence.allow)
    lines.append(f"-A {inward} -j {refuse}")
    lines.extend(f"-A {outward} -d {network} -j {refuse}" for network in METADATA)
    lines.append(f"-A {outward} -d {fence.pool} ! -o {fence.bridge} -j {refuse}")
    lines.extend(f"-A {chain} {' '.join(rule)}" for chain, rule in missing)
    return "\n".join([*lines, "COMMIT", ""])


def removal_text(bridge: str, listing: str) -> str:
    """What takes away everything of a bridge that an `iptables -S` listing shows; empty when there is nothing. Pure."""
    ours = {input_chain(bridge), forward_chain(bridge)}
    lines = [
        f"-D {' '.join(rule)}" for rule in rules_naming(bridge, listing) if rule[0] in (INPUT_CHAIN, FORWARD_CHAIN)
    ]
    there = [words[1] for words in map(str.split, listing.splitlines()) if words[:1] == ["-N"] and words[1] in ours]
    lines += [f"{flag} {chain}" for flag in ("-F", "-X") for chain in there]
    return "\n".join(["*filter", *lines, "COMMIT", ""]) if lines else ""


def stands(chain: str, rule: Sequence[str], listing: str) -> bool:
    """Whether an `iptables -S` listing shows the rule; iptables puts words and lists in an order of its own. Pure."""
    wanted = _sorted_words(["-A", chain, *rule])
    return any(_sorted_words(line.split()) == wanted for line in listing.splitlines() if line.startswith("-A "))


def _sorted_words(words: Sequence[str]) -> list[str]:
    return sorted(",".join(sorted(word.split(","))) for word in words)


def jumps(fence: Fence) -> list[tuple[str, list[str]]]:
    """(chain, rule) pairs that lead to an attempt's chains, and keep others from reaching it. Pure."""
    bridge = fence.bridge
    started_elsewhere = ["-m", "conntrack", "--ctstate", "NEW,INVALID"]
    return [
        (INPUT_CHAIN, ["-i", bridge, "-j", input_chain(bridge)]),
        (INPUT_CHAIN, ["-d", f"{fence.gateway}/32", "!", "-i", bridge, "-j", "DROP"]),
        (FORWARD_CHAIN, ["-i", bridge, "-j", forward_chain(bridge)]),
        (FORWARD_CHAIN, ["-o", bridge, "!", "-i", bridge, *started_elsewhere, "-j", "DROP"]),
    ]


def rules_naming(bridge: str, listing: str) -> list[list[str]]:
    """Words after `-A` of the rules in an `iptables -S` listing that name the bridge. Pure."""
    rules = [line.split() for line in listing.splitlines() if line.startswith("-A ")]
    return [words[1:] for words in rules if bridge in words]


def nameservers(text: str) -> list[str]:
    """IPv4 addresses of a resolv.conf, loopback left out. Pure."""
    words = [line.split() for line in text.splitlines() if line.startswith("nameserver")]
    found = [fields[1] for fields in words if len(fields) > 1]
    return [address for address in found if ":" not in address and not address.startswith("127.")]


def proxy_endpoints(env: Mapping[str, str]) -> list[tuple[str, int]]:
    """(host, port) of the proxies that variables name."""
    found = set()
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "FTP_PROXY"):
        for value in (env.get(name), env.get(name.lower())):
            parts = urlsplit(value if value and "//" in value else f"//{value or ''}")
            if parts.hostname:
                found.add((parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)))
    return sorted(found)


class Firewall:
    """Puts fences up and takes them down. Needs root."""

    def __init__(self) -> None:
        self._fences: dict[str, Fence] = {}
        self._lock = threading.Lock()
        self._refuse = "REJECT"
        self._ipv6 = shutil.which("ip6tables") is not None and Path("/proc/net/if_inet6").exists()

    def check(self) -> Problem | None:
        """Why no rules can be made here, or None."""
        fix = "run the agent as root on a host with iptables, or use the embedded group and accept what stays reachable"
        if os.geteuid() != 0:
            return Problem(
                "firewall", "Firewall rules for containers need root, and the agent does not run as root.", fix
            )
        if shutil.which("iptables") is None:
            return Problem("firewall", "The command iptables is missing.", "install the package iptables")
        done = _run(["iptables", "-w", "-S", "INPUT"])
        if done.returncode != 0:
            return Problem("firewall", f"iptables does not work here: {done.stderr.strip()}", fix)
        return None

    def put(self, fence: Fence) -> None:
        """Make or replace the rules of a bridge. Raises NetworkError."""
        with self._lock:
            fence = replace(
                fence, resolvers=fence.resolvers or _resolvers(), allow=tuple(sorted(_resolve(fence.allow)))
            )
            listing = _listing("iptables")
            if not self._parents_stand(listing):
                self._parents()
            missing = [(chain, rule) for chain, rule in jumps(fence) if not stands(chain, rule, listing)]
            self._chains(fence, missing)
            self._put_ipv6(fence)
            self._fences[fence.bridge] = fence

    def open_relay(self, bridge: str, port: int) -> None:
        """Let the bridge reach this port of its gateway. Raises NetworkError."""
        with self._lock:
            fence = self._fences.get(bridge)
            if fence is None:
                raise NetworkError(f"no rules for {bridge}: prepare the network first")
            fence = replace(fence, relay_port=port)
            self._chains(fence)
            self._fences[bridge] = fence

    def refresh(self) -> None:
        """Put back what is missing: a firewall service that was reloaded forgets our chains."""
        for fence in list(self._fences.values()):
            if not self._stands(fence):
                self.put(fence)

    def remove(self, bridge: str) -> None:
        """Take the rules of a bridge away, also those that a former agent made; nothing happens if there are none."""
        with self._lock:
            self._fences.pop(bridge, None)
            for _ in range(TRIES):
                text = removal_text(bridge, _run(["iptables", "-w", "-S"]).stdout)
                # All or nothing: if something else took a rule away meanwhile, look again.
                if not text or _run(["iptables-restore", "-w", "--noflush"], text).returncode == 0:
                    break
            listing = _run(["ip6tables", "-w", "-S"]).stdout if self._ipv6 else ""
            for chain, rule in _ipv6_rules(bridge):
                if stands(chain, rule, listing):
                    _run(["ip6tables", "-w", "-D", chain, *rule])

    def remove_parents(self) -> None:
        """Take our two chains away: no attempt runs here any more."""
        with self._lock:
            for parent, chain in (("INPUT", INPUT_CHAIN), (_forward_parent(), FORWARD_CHAIN)):
                _run(["iptables", "-w", "-D", parent, "-j", chain])
                _run(["iptables", "-w", "-F", chain])
                _run(["iptables", "-w", "-X", chain])

    def _stands(self, fence: Fence) -> bool:
        listing = _listing("iptables")
        return self._parents_stand(listing) and all(stands(chain, rule, listing) for chain, rule in jumps(fence))

    @staticmethod
    def _parents_stand(listing: str) -> bool:
        forward = "DOCKER-USER" if "-N DOCKER-USER" in listing.splitlines() else "FORWARD"
        parents = [("INPUT", ["-j", INPUT_CHAIN]), (forward, ["-j", FORWARD_CHAIN])]
        return all(stands(*rule, listing) for rule in [*parents, (INPUT_CHAIN, LOOPBACK)])

    def _parents(self) -> None:
        """Our two chains, first in the built-in ones."""
        for parent, chain in (("INPUT", INPUT_CHAIN), (_forward_parent(), FORWARD_CHAIN)):
            _run(["iptables", "-w", "-N", chain])
            if _run(["iptables", "-w", "-C", parent, "-j", chain]).returncode != 0:
                _must(["iptables", "-w", "-I", parent, "1", "-j", chain])
        # The machine itself may speak to its own gateway addresses.
        if _run(["iptables", "-w", "-C", INPUT_CHAIN, *LOOPBACK]).returncode != 0:
            _must(["iptables", "-w", "-I", INPUT_CHAIN, "1", *LOOPBACK])

    def _chains(self, fence: Fence, missing: Sequence[tuple[str, list[str]]] = ()) -> None:
        command = ["iptables-restore", "-w", "--noflush"]
        done = _run(command, restore_text(fence, self._refuse, missing))
        if done.returncode != 0 and self._refuse == "REJECT":
            # Kernels without the REJECT target: silence instead of an answer.
            self._refuse = "DROP"
            done = _run(command, restore_text(fence, self._refuse, missing))
        if done.returncode != 0:
            raise NetworkError(f"firewall: {done.stderr.strip()}")

    def _put_ipv6(self, fence: Fence) -> None:
        """The networks have no IPv6; what the bridge's link-local address could carry is dropped."""
        if not self._ipv6:
            return
        listing = _listing("ip6tables")
        for chain, rule in _ipv6_rules(fence.bridge):
            if not stands(chain, rule, listing):
                _must(["ip6tables", "-w", "-I", chain, "1", *rule])


def _ipv6_rules(bridge: str) -> list[tuple[str, list[str]]]:
    return [(chain, ["-i", bridge, "-j", "DROP"]) for chain in ("INPUT", "FORWARD")]


def _listing(command: str) -> str:
    """Every chain and rule of the filter table, as the command was told them."""
    return _must([command, "-w", "-S"])


def _forward_parent() -> str:
    """Docker keeps DOCKER-USER before its own rules; where it is missing, ours go first in FORWARD."""
    return "DOCKER-USER" if _run(["iptables", "-w", "-S", "DOCKER-USER"]).returncode == 0 else "FORWARD"


def _resolvers() -> tuple[str, ...]:
    found: list[str] = []
    for path in RESOLVER_FILES:
        if path.exists():
            found.extend(nameservers(path.read_text()))
    return tuple(dict.fromkeys(found))


def _resolve(allow: Sequence[tuple[str, int]]) -> set[tuple[str, int]]:
    """IPv4 addresses of the allowed hosts; one that does not resolve is left out (it could not be reached either)."""
    found = set()
    for host, port in allow:
        try:
            answers = socket.getaddrinfo(host, port, socket.AF_INET, socket.SOCK_STREAM)
        except OSError:
            continue
        found.update((str(answer[4][0]), port) for answer in answers)
    return found


def _must(command: list[str]) -> str:
    done = _run(command)
    if done.returncode != 0:
        raise NetworkError(f"firewall: {' '.join(command)}: {done.stderr.strip()}")
    return done.stdout


def _run(command: list[str], text: str = "") -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(command, input=text, capture_output=True, text=True, timeout=COMMAND_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NetworkError(f"firewall: {command[0]}: {error}") from error
