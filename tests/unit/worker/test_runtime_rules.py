"""What every container gets and what it may not reach, without an engine."""

from __future__ import annotations

from ipaddress import IPv4Network
from pathlib import Path

import pytest

from worker_bootstrap.agent.runtime.base import Bind, ContainerCreateError, ContainerSpec
from worker_bootstrap.agent.runtime.firewall import (
    Fence,
    jumps,
    nameservers,
    proxy_endpoints,
    removal_text,
    restore_text,
    rules_naming,
    stands,
)
from worker_bootstrap.agent.runtime.images import Layers, with_tag
from worker_bootstrap.agent.runtime.profile import check_binds, clamp_limit, host_config
from worker_bootstrap.agent.runtime.subnets import (
    bridge_name,
    default_interface,
    free_subnets,
    gateway_of,
    parse_routes,
)
from worker_bootstrap.agent.runtime.usage import Gpus, devices_of, parse_gpus, usage_of

ROUTES = """Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
eth0\t00000000\t010200C0\t0003\t0\t0\t100\t00000000\t0\t0\t0
wlan0\t00000000\t010200C0\t0003\t0\t0\t600\t00000000\t0\t0\t0
rm1\t0000E70A\t00000000\t0001\t0\t0\t0\tF0FFFFFF\t0\t0\t0
"""


def spec(**changes: object) -> ContainerSpec:
    values: dict[str, object] = {
        "attempt": "a",
        "execution": "e",
        "number": 1,
        "image": "i",
        "command": ["true"],
        "memory": 1 << 30,
        "cpu": 1.5,
    }
    return ContainerSpec(**{**values, **changes})  # type: ignore[arg-type]


def made(**changes: object) -> dict[str, object]:
    return host_config(spec(**changes), network="n", init=True, api_version="1.41", machine_memory=8 << 30)


def test_the_profile_is_the_narrow_one() -> None:
    config = made(binds=[Bind("/data", "/in")])

    assert config["CapDrop"] == ["ALL"]
    assert set(config["CapAdd"]) == {"CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "SETUID", "SETGID", "KILL"}  # type: ignore[call-overload]
    assert config["SecurityOpt"] == ["no-new-privileges"]
    assert not config.get("Privileged")
    assert config["PidsLimit"] == 4096
    assert (config["NanoCpus"], config["Memory"], config["MemorySwap"]) == (1_500_000_000, 1 << 30, 1 << 30)
    assert config["ShmSize"] == 1 << 29
    assert config["IpcMode"] == "private"
    assert config["LogConfig"] == {"Type": "none", "Config": {}}
    assert config["Init"] is True
    assert config["NetworkMode"] == "n"
    assert config["RestartPolicy"] == {"Name": "no", "MaximumRetryCount": 0}
    assert config["Mounts"] == [{"Target": "/in", "Source": "/data", "Type": "bind", "ReadOnly": True}]


def test_without_a_memory_limit_shm_is_half_the_machine() -> None:
    assert made(memory=0)["ShmSize"] == 4 << 30


@pytest.mark.never_real("A container with GPUs", "the engine is asked for the devices of the slot")
def test_a_slot_gets_its_own_devices() -> None:
    by_id = made(gpus=["0", "GPU-1"])["DeviceRequests"]
    by_count = made(gpus=2)["DeviceRequests"]

    assert by_id == [{"Driver": "", "Count": 0, "DeviceIDs": ["0", "GPU-1"], "Capabilities": [["gpu"]], "Options": {}}]
    assert by_count == [{"Driver": "", "Count": 2, "DeviceIDs": [], "Capabilities": [["gpu"]], "Options": {}}]
    assert not made().get("DeviceRequests")


@pytest.mark.parametrize("source", ["/", "/var/run", "/var/run/docker.sock", "/run", "relative/path"])
def test_the_engines_socket_is_never_mounted(source: str) -> None:
    with pytest.raises(ContainerCreateError, match="mount"):
        check_binds([source], "/var/run/docker.sock")


def test_other_folders_may_be_mounted(tmp_path: Path) -> None:
    check_binds([str(tmp_path), "/srv/data"], "/var/run/docker.sock")


@pytest.mark.parametrize(
    ("wanted", "most", "given"),
    [((65536, 1048576), -1, (65536, 1048576)), ((65536, 1048576), 4096, (4096, 4096)), ((-1, -1), 8192, (8192, 8192))],
)
def test_limits_stay_below_the_machines(wanted: tuple[int, int], most: int, given: tuple[int, int]) -> None:
    assert clamp_limit(wanted, most) == given


def test_bridges_have_names_of_their_own_that_the_kernel_takes() -> None:
    names = {bridge_name(f"018f2c3e-0000-7000-8000-{n:012d}") for n in range(1000)}

    assert len(names) == 1000
    assert all(name.startswith("rm") and len(name) == 14 for name in names)


def test_subnets_in_use_are_left_out() -> None:
    pool = IPv4Network("10.231.0.0/24")
    taken = [*parse_routes(ROUTES), IPv4Network("10.231.0.32/27"), IPv4Network("172.17.0.0/16")]

    free = list(free_subnets(pool, taken, start=15))

    assert parse_routes(ROUTES) == [IPv4Network("10.231.0.0/28")]
    assert default_interface(ROUTES) == "eth0"
    assert [str(net) for net in free[:3]] == ["10.231.0.240/28", "10.231.0.16/28", "10.231.0.64/28"]
    assert len(free) == 13
    assert gateway_of(free[1]) == "10.231.0.17"
    assert list(free_subnets(pool, [IPv4Network("10.0.0.0/8")])) == []


def test_rules_refuse_the_machine_but_for_what_is_named() -> None:
    fence = Fence("rmx", "10.231.0.1", "10.231.0.0/16", 4000, ("169.254.169.254",), (("192.0.2.9", 3128),))

    lines = restore_text(fence).splitlines()

    inward = [line for line in lines if line.startswith("-A RM-I-rmx")]
    outward = [line for line in lines if line.startswith("-A RM-F-rmx")]
    assert inward[-1] == "-A RM-I-rmx -j REJECT"
    assert [line.split(" -j")[0] for line in inward[1:-1]] == [
        "-A RM-I-rmx -d 10.231.0.1/32 -p tcp -m tcp --dport 4000",
        "-A RM-I-rmx -d 169.254.169.254/32 -p udp -m udp --dport 53",
        "-A RM-I-rmx -d 169.254.169.254/32 -p tcp -m tcp --dport 53",
        "-A RM-I-rmx -d 192.0.2.9/32 -p tcp -m tcp --dport 3128",
    ]
    # Some clouds answer names at the metadata address: port 53 of it is allowed before the rest is refused.
    assert outward[0] == "-A RM-F-rmx -d 169.254.169.254/32 -p udp -m udp --dport 53 -j RETURN"
    assert "-A RM-F-rmx -d 169.254.0.0/16 -j REJECT" in outward
    assert outward[-1] == "-A RM-F-rmx -d 10.231.0.0/16 ! -o rmx -j REJECT"
    assert "REJECT" not in restore_text(fence, "DROP")


def test_without_a_relay_no_port_is_open() -> None:
    assert "10.231.0.1" not in restore_text(Fence("rmx", "10.231.0.1", "10.231.0.0/16"))


def test_others_do_not_reach_the_relay() -> None:
    rules = {(chain, " ".join(rule)) for chain, rule in jumps(Fence("rmx", "10.231.0.1", "10.231.0.0/16"))}

    assert ("REMORA-IN", "-d 10.231.0.1/32 ! -i rmx -j DROP") in rules


def test_rules_of_a_bridge_are_found_again() -> None:
    listing = "-N REMORA-IN\n-A REMORA-IN -i rmx -j RM-I-rmx\n-A REMORA-IN -i rmxy -j RM-I-rmxy\n"

    assert rules_naming("rmx", listing) == [["REMORA-IN", "-i", "rmx", "-j", "RM-I-rmx"]]


def test_a_rule_is_found_however_iptables_orders_its_words() -> None:
    listing = "-A REMORA-FWD ! -i rmx -o rmx -m conntrack --ctstate INVALID,NEW -j DROP\n"
    rules = jumps(Fence("rmx", "10.231.0.1", "10.231.0.0/16"))

    assert [stands(chain, rule, listing) for chain, rule in rules] == [False, False, False, True]


def test_only_what_is_there_is_taken_away() -> None:
    listing = (
        "-N REMORA-IN\n-N RM-I-rmx\n-N RM-F-rmxy\n-A REMORA-IN -i rmx -j RM-I-rmx\n-A REMORA-IN -i rmxy -j RM-I-rmxy\n"
        "-A RM-I-rmx -j REJECT\n-A DOCKER -i rmx -j RETURN\n"
    )

    assert removal_text("rmx", listing).splitlines() == [
        "*filter",
        "-D REMORA-IN -i rmx -j RM-I-rmx",
        "-F RM-I-rmx",
        "-X RM-I-rmx",
        "COMMIT",
    ]
    assert removal_text("rmz", listing) == ""


def test_resolvers_and_proxies() -> None:
    assert nameservers("search x\nnameserver 10.0.0.2\nnameserver 127.0.0.53\nnameserver fd00::1\n#") == ["10.0.0.2"]
    env = {"HTTP_PROXY": "http://u:p@proxy.lan:3128", "https_proxy": "10.0.0.9", "NO_PROXY": "*"}
    assert proxy_endpoints(env) == [("10.0.0.9", 80), ("proxy.lan", 3128)]


def test_images_without_a_tag_mean_latest() -> None:
    assert with_tag("python") == "python:latest"
    assert with_tag("reg:5000/a/b") == "reg:5000/a/b:latest"
    assert with_tag("reg:5000/a/b:1") == "reg:5000/a/b:1"
    assert with_tag("a@sha256:00") == "a@sha256:00"


def test_progress_of_a_pull_is_the_sum_of_its_layers() -> None:
    layers = Layers()
    layers.add({"status": "Downloading", "id": "a", "progressDetail": {"current": 3_000_000, "total": 10_000_000}})
    layers.add({"status": "Downloading", "id": "b", "progressDetail": {"current": 1_000_000, "total": 20_000_000}})
    layers.add({"status": "Download complete", "id": "a"})

    assert layers.sentence("python:3") == "Pulling image python:3: 11 of 30 MB"


def test_usage_of_both_cgroup_versions() -> None:
    raw = {
        "cpu_stats": {"cpu_usage": {"total_usage": 5_000_000_000}},
        "memory_stats": {"usage": 1000, "limit": 5000, "stats": {"inactive_file": 300}},
        "blkio_stats": {"io_service_bytes_recursive": [{"op": "Read", "value": 7}, {"op": "write", "value": 9}]},
        "networks": {"eth0": {"rx_bytes": 1, "tx_bytes": 2}, "eth1": {"rx_bytes": 10, "tx_bytes": 20}},
        "pids_stats": {"current": 4},
    }

    sample, before = usage_of(raw, (2_000_000_000, 10.0), 12.0)

    assert (sample.cpu, sample.memory, sample.memory_limit) == (1.5, 700, 5000)
    assert (sample.disk_read, sample.disk_write, sample.net_rx, sample.net_tx, sample.pids) == (7, 9, 11, 22, 4)
    assert before == (5_000_000_000, 12.0)
    v1 = {"memory_stats": {"usage": 1000, "stats": {"total_inactive_file": 400, "inactive_file": 1}}}
    assert usage_of(v1, None, 1.0)[0].memory == 600


@pytest.mark.never_real("Utilisation of a GPU", "what `nvidia-smi` prints, from its documentation, is read")
def test_gpus_of_the_slot_only() -> None:
    text = "0, GPU-a, 50, 100, 1000\n1, GPU-b, [N/A], 1, 2\n2, GPU-c, 7, 5, 10\n"
    asked: list[int] = []
    gpus = Gpus(lambda: asked.append(1) or text, clock=lambda: 5.0)

    assert [index for index, _ in parse_gpus(text)] == ["0", "2"]
    assert [gpu.id for gpu in gpus.usage(["GPU-c"])] == ["GPU-c"]
    assert gpus.usage(["0"])[0].utilization == 0.5
    assert len(gpus.usage(["all"])) == 2
    assert gpus.usage([]) == ()
    assert len(asked) == 1
    assert devices_of({"HostConfig": {"DeviceRequests": [{"DeviceIDs": ["0"], "Count": 0}]}}) == ["0"]
    assert devices_of({"HostConfig": {"DeviceRequests": [{"DeviceIDs": None, "Count": -1}]}}) == ["all"]
