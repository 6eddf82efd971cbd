"""What works inside a container, and what is out of its reach, tried from inside."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from urllib.parse import urlsplit

import pytest

from fixtures.bench import Bench
from fixtures.work import IMAGE

PROBE = """
import json, socket, sys
for name, host, port in json.loads(sys.argv[1]):
    try:
        socket.create_connection((host, port), 2).close()
        print("REACHED", name)
    except OSError as error:
        print("refused", name, type(error).__name__)
"""


def probe(bench: Bench, targets: list[tuple[str, str, int]]) -> list[str]:
    """Which of (name, host, port) a container can connect to."""
    ran = bench.run(f"cat > /tmp/probe.py <<'END'\n{PROBE}\nEND\npython /tmp/probe.py '{json.dumps(targets)}'")
    assert ran.shown["status"] == "complete", ran.text
    tried = [line for line in ran.lines("stdout") if line.startswith(("REACHED", "refused"))]
    assert len(tried) == len(targets), ran.text
    return [line.split()[1] for line in tried if line.startswith("REACHED")]


def docker(*command: str) -> str:
    """What the engine's own client says."""
    return subprocess.run(["docker", *command], check=True, capture_output=True, text=True, timeout=60).stdout.strip()


def own_addresses() -> list[str]:
    """This machine's addresses but for the loopback."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probing:
        probing.connect(("192.0.2.1", 9))
        return [probing.getsockname()[0]]


def test_apt_get_install(bench: Bench) -> None:
    ran = bench.run("apt-get update && apt-get install -y --no-install-recommends hello\nhello", timeout=180)
    assert ran.shown["status"] == "complete", ran.text[-4000:]
    assert "Hello, world!" in ran.lines("stdout")


def test_pip_install(bench: Bench) -> None:
    command = "pip install --no-cache-dir six==1.17.0\npython -c 'import six; print(six.__name__, six.__version__)'"
    ran = bench.run(command, timeout=120)
    assert ran.shown["status"] == "complete", ran.text[-4000:]
    assert "six 1.17.0" in ran.lines("stdout")


def test_the_bundle_and_the_proxies_are_the_machines(bench: Bench) -> None:
    ran = bench.run('test -s "$SSL_CERT_FILE" && test -s "$PIP_CERT" && test -s "$REQUESTS_CA_BUNDLE"\nenv')
    lines = ran.lines("stdout")
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"):
        if name in os.environ:
            assert f"{name}={os.environ[name]}" in lines


@pytest.mark.needs("root")
def test_machine_is_out_of_reach(bench: Bench) -> None:
    """Dashboard, Redis, metadata addresses and this machine's open ports."""
    with socket.socket() as everywhere:
        everywhere.bind(("0.0.0.0", 0))
        everywhere.listen()
        open_port = everywhere.getsockname()[1]
        web = urlsplit(bench.stack.url).port or 80
        redis = bench.stack.redis_port
        targets: list[tuple[str, str, int]] = [
            ("metadata", "169.254.169.254", 80),
            ("metadata-aws6", "169.254.170.2", 80),
        ]
        for host in [*own_addresses(), "172.17.0.1", "host.docker.internal", "10.231.0.1"]:
            targets += [(f"web@{host}", host, web), (f"redis@{host}", host, redis), (f"open@{host}", host, open_port)]
        assert probe(bench, targets) == []


def test_engine_socket_and_devices_are_not_inside(bench: Bench) -> None:
    ran = bench.run(
        "\n".join(
            [
                "ls /var/run/docker.sock /run/docker.sock /run/containerd 2>&1 | sed 's/^/socket /'",
                "test ! -S /var/run/docker.sock && echo 'no engine'",
                "mount -t tmpfs none /mnt 2>/dev/null || echo 'no mount'",
                "chroot / true 2>/dev/null || echo 'no chroot'",
                "cat /dev/mem 2>/dev/null || echo 'no memory'",
                "ls /dev/kmsg /dev/sda 2>/dev/null || echo 'no devices'",
                "echo x > /proc/sys/kernel/hostname 2>/dev/null || echo 'no kernel settings'",
                "grep NoNewPrivs /proc/self/status",
                "grep CapEff /proc/self/status",
            ]
        )
    )
    lines = [line.replace("\t", " ") for line in ran.lines("stdout")]
    for wanted in ("no engine", "no mount", "no chroot", "no memory", "no devices", "no kernel settings"):
        assert wanted in lines, ran.text
    assert "NoNewPrivs: 1" in lines
    # CHOWN DAC_OVERRIDE FOWNER FSETID KILL SETGID SETUID and nothing else
    assert "CapEff: 00000000000000fb" in lines, ran.text


def test_other_containers_are_out_of_reach(bench: Bench) -> None:
    """Another execution's server, and a container that is none of ours."""
    serving = bench.start("hostname -I | sed 's/^/address /'\npython -m http.server 8000")
    foreign = docker("run", "-d", "--rm", IMAGE, "python", "-m", "http.server", "8000")
    try:
        ours = bench.stack.wait_for_line(serving, "address ").split()[1]
        theirs = docker("inspect", "-f", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", foreign)
        assert probe(bench, [("ours", ours, 8000), ("theirs", theirs, 8000)]) == []
    finally:
        docker("rm", "-f", foreign)
        bench.stack.stop_execution(serving)
    bench.end(serving, ("stopped",))


def test_configuration_is_read_only_and_code_is_not(bench: Bench) -> None:
    command = (
        "touch /valohai/repository/made && echo writable\ntouch /valohai/config/made 2>/dev/null || echo 'read-only'"
    )
    ran = bench.run(command)
    assert {"writable", "read-only"} <= set(ran.lines("stdout")), ran.text


def test_processes_are_limited(bench: Bench) -> None:
    ran = bench.run(
        "cat /sys/fs/cgroup/pids.max /sys/fs/cgroup/pids/pids.max 2>/dev/null | head -1\ndf -k /dev/shm | tail -1"
    )
    lines = ran.lines("stdout")
    assert lines[0] == "4096", ran.text
    assert int(lines[1].split()[1]) > 64 * 1024


def test_nothing_is_left_of_it(bench: Bench) -> None:
    """Container, network, folder of an ended attempt are gone."""
    ran = bench.run("echo done")
    assert ran.shown["status"] == "complete"
    bench.stack.wait_for_clean_worker()
