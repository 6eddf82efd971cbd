"""Rules of an attempt's bridge on the real iptables: each once, however often they are put, and none left behind."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from uuid import uuid4

import pytest

from worker_bootstrap.agent.runtime.firewall import Fence, Firewall, forward_chain, input_chain

pytestmark = pytest.mark.needs("root")


def rules(bridge: str, command: str = "iptables") -> list[str]:
    """Chains and rules that name the bridge."""
    done = subprocess.run([command, "-w", "-S"], capture_output=True, text=True, check=True)
    return [line for line in done.stdout.splitlines() if bridge in line]


@pytest.fixture
def fence() -> Iterator[Fence]:
    made = Fence(f"rm{uuid4().hex[:8]}", "10.231.255.1", "10.231.0.0/16", resolvers=("10.9.9.9",))
    yield made
    Firewall().remove(made.bridge)


def test_what_stands_is_not_made_twice_and_everything_goes(fence: Fence) -> None:
    firewall = Firewall()
    firewall.put(fence)
    first = rules(fence.bridge)
    assert len(first) == len(set(first)) > 10
    parents = [line for line in first if line.startswith(("-A REMORA-IN ", "-A REMORA-FWD "))]
    assert len(parents) == 4
    ipv6 = rules(fence.bridge, "ip6tables")

    firewall.put(fence)
    Firewall().put(fence)  # the next agent
    firewall.refresh()

    assert rules(fence.bridge) == first
    assert rules(fence.bridge, "ip6tables") == ipv6
    firewall.remove(fence.bridge)
    assert rules(fence.bridge) == rules(fence.bridge, "ip6tables") == []
    firewall.remove(fence.bridge)


def test_the_relays_port_is_opened_and_stays_with_the_next_look(fence: Fence) -> None:
    firewall = Firewall()
    firewall.put(fence)
    assert not any("--dport 4711" in line for line in rules(fence.bridge))

    firewall.open_relay(fence.bridge, 4711)
    firewall.refresh()

    opened = [line for line in rules(fence.bridge) if "--dport 4711" in line]
    assert opened == [f"-A {input_chain(fence.bridge)} -d 10.231.255.1/32 -p tcp -m tcp --dport 4711 -j ACCEPT"]


def test_what_another_program_removed_comes_back(fence: Fence) -> None:
    firewall = Firewall()
    firewall.put(fence)
    complete = sorted(rules(fence.bridge))
    jump = ["-i", fence.bridge, "-j", forward_chain(fence.bridge)]
    subprocess.run(["iptables", "-w", "-D", "REMORA-FWD", *jump], check=True)
    assert sorted(rules(fence.bridge)) != complete

    firewall.refresh()

    assert sorted(rules(fence.bridge)) == complete


def test_many_at_once(fence: Fence) -> None:
    """Attempts begin and end beside each other; none takes the other's rules away."""
    firewall = Firewall()
    others = [f"{fence.bridge}{letter}" for letter in "abcdef"]

    def life(bridge: str) -> None:
        firewall.put(Fence(bridge, "10.231.254.1", "10.231.0.0/16", resolvers=("10.9.9.9",)))
        firewall.open_relay(bridge, 4712)
        firewall.remove(bridge)

    threads = [threading.Thread(target=life, args=(bridge,)) for bridge in others]
    firewall.put(fence)
    before = rules(fence.bridge)
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert rules(fence.bridge) == before
