"""The lines of shell that look at a machine: they change nothing on it. Pure."""

from __future__ import annotations

from collections.abc import Sequence

# What the installer puts on a machine says whose it is.
MARKERS = {"agent": "/opt/remora-agent/installation"}
MARKERS |= {"master": "/opt/remora-server/installation"}
MARKERS |= {"queue": "/opt/remora-queue/installation", "store": "/opt/remora-store/installation"}

# No list of packages at all: whether there is a candidate is known after `apt-get update` only.
APT = """\
ls /var/lib/apt/lists/*_Packages* >/dev/null 2>&1 || { command -v apt-get >/dev/null && echo unlisted; exit; }
apt-cache policy %s | grep -q "Candidate: [0-9]" && echo installable || echo missing"""
ENGINE = f"""\
command -v docker >/dev/null || {{
{APT % "docker.io"}
exit
}}
v=$(timeout 20 docker version --format '{{{{.Server.Version}}}}' 2>/dev/null) && echo runs $v || echo silent"""
IPTABLES = f"""\
command -v iptables >/dev/null || {{
{APT % "iptables"}
exit
}}
e=$(iptables -w -S INPUT 2>&1 >/dev/null) && echo works || echo $e"""
OURS = (
    f"for f in {' '.join(MARKERS.values())}; do [ -e $f ] && cat $f && echo; done; "
    f"[ -e {MARKERS['agent']} ] || {{ [ -e /etc/systemd/system/remora-agent.service ] && echo @hand; }}; true"
)
PORTS = """\
import socket, subprocess, sys
for unit, port in zip(sys.argv[1::2], sys.argv[2::2]):
    state = subprocess.run(["systemctl", "is-active", unit], capture_output=True, text=True).stdout.strip()
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("0.0.0.0", int(port)))
        except OSError:
            print("free" if state == "active" else "taken", port)
"""
REACH = """\
import socket, sys
for host, port in zip(sys.argv[1::2], sys.argv[2::2]):
    try:
        socket.create_connection((host, int(port)), 3).close()
        print("yes", host)
    except (TimeoutError, ConnectionRefusedError):
        print("late", host + ":" + port)
    except OSError as error:
        print("no", host + ":" + port, error.strerror or error)
"""
SOURCE = """\
import socket, sys
for host in sys.argv[1:2]:
    family, _, _, _, address = socket.getaddrinfo(host, 9, type=socket.SOCK_DGRAM)[0]
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.connect(address)
        print(probe.getsockname()[0])
"""


SERVER = """\
import platform, sys
machine = {"arm64": "aarch64", "amd64": "x86_64"}.get(platform.machine(), platform.machine())
print("server-cp3%d-%s" % (sys.version_info.minor, machine))
"""


def quoted(text: str) -> str:
    """A word for sh."""
    return "'" + text.replace("'", "'\\''") + "'"


def python_probe(script: str, words: Sequence[str]) -> str:
    """The line that runs this script with these arguments."""
    return " ".join(["python3 -c", quoted(script), *(quoted(word) for word in words)])


def pairs_of(pairs: Sequence[tuple[str, int]]) -> list[str]:
    """Arguments of a script that takes two at a time."""
    return [str(part) for pair in pairs for part in pair]
