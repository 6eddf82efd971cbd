"""What a machine must have before anything is put on it: checks as data, each with a probe, its outcomes and a remedy.

A probe is a line of shell that changes nothing; what it prints is judged here. A probe that can't run is `unknown`,
never a failure.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from infra.onprem import probes
from infra.onprem.probes import pairs_of, python_probe, quoted
from infra.onprem.remote import Place, RemoteError, Session, connected, in_parallel

Level = Literal["pass", "warn", "fail", "unknown"]
SYSTEMS = {("debian", "12"), ("ubuntu", "24.04")}
MIN_DISK_KB, GOOD_DISK_KB = 5_000_000, 20_000_000
GOOD_SKEW, MOST_SKEW = 30, 300
_SECTION = re.compile(r"^@@([a-z_]+) (\d+)$")


@dataclass(frozen=True)
class Wanted:
    """What a machine is for. `reaches`: (host, port) pairs that it must reach; `listens`: unit to port.

    `servers`: on the control plane's machine, for which machines the release carries it; elsewhere None.
    """

    installation: str
    architectures: Sequence[str]
    mounts: Sequence[str] = ()
    gpus: Sequence[str] = ()
    reaches: Sequence[tuple[str, int]] = ()
    listens: Mapping[str, int] = field(default_factory=dict)
    runs_agent: bool = True
    servers: Sequence[str] | None = None


@dataclass(frozen=True)
class Seen:
    """What a probe printed, and how it ended."""

    text: str
    code: int

    @property
    def word(self) -> str:
        """Its first word, or nothing."""
        return self.text.split()[0] if self.text.split() else ""


@dataclass(frozen=True)
class Outcome:
    """How a check ended on a machine. `remedy` is empty unless something is to be done."""

    check: str
    level: Level
    sentence: str
    remedy: str = ""


@dataclass(frozen=True)
class Check:
    """`outcomes` judges what `probe` printed: a level and what was found. `fix` is the remedy."""

    id: str
    probe: Callable[[Wanted], str]
    outcomes: Callable[[Seen, Wanted, float], tuple[Level, str]]
    fix: str


@dataclass(frozen=True)
class Report:
    """Everything known of a machine: outcomes, and facts by name."""

    place: Place
    outcomes: Sequence[Outcome]
    facts: Mapping[str, str]

    @property
    def failures(self) -> list[Outcome]:
        """What forbids to go on."""
        return [one for one in self.outcomes if one.level == "fail"]


class PreflightError(Exception):
    """Machines can't be used; nothing was changed. The message has a line for each fault."""

    def __init__(self, lines: Sequence[str]) -> None:
        super().__init__("\n".join(lines))
        self.lines = list(lines)


def _system(seen: Seen, wanted: Wanted, now: float) -> tuple[Level, str]:
    found = tuple(seen.text.split()[:2])
    if len(found) < 2:
        return "unknown", "what system it has can't be told"
    return ("pass" if found in SYSTEMS else "warn"), f"its system is {' '.join(found)}"


def _python(seen: Seen, wanted: Wanted, now: float) -> tuple[Level, str]:
    found = re.fullmatch(r"(\d+)\.(\d+)", seen.word)
    if found is None:
        return "fail", "there is no python3"
    newer = (int(found[1]), int(found[2])) >= (3, 11)
    return ("pass" if newer else "fail"), f"its Python is {seen.word}"


def _systemd(seen: Seen, wanted: Wanted, now: float) -> tuple[Level, str]:
    return ("pass", "systemd runs") if seen.word == "yes" else ("fail", "systemd does not run")


def _engine(seen: Seen, wanted: Wanted, now: float) -> tuple[Level, str]:
    if not wanted.runs_agent:
        return "pass", "no engine is needed"
    if seen.word == "runs":
        return "pass", f"its Docker engine is {seen.text.split()[-1]}"
    if seen.word == "installable":
        return "pass", "the package docker.io will be installed"
    if seen.word == "unlisted":
        return "unknown", "whether apt has docker.io shows when it is installed"
    if seen.word == "silent":
        return "fail", "its Docker engine does not answer"
    return "fail", "there is no Docker engine, and apt has no docker.io"


def _iptables(seen: Seen, wanted: Wanted, now: float) -> tuple[Level, str]:
    if seen.word in ("works", "installable"):
        return "pass", f"iptables {seen.word}"
    if seen.word == "unlisted":
        return "unknown", "whether apt has iptables shows when it is installed"
    return "fail", f"iptables does not work: {seen.text.strip()[:200]}"


def _disk(seen: Seen, wanted: Wanted, now: float) -> tuple[Level, str]:
    if not seen.word.isdigit():
        return "unknown", "the free disk space can't be told"
    free = int(seen.word)
    level: Level = "fail" if free < MIN_DISK_KB else "warn" if free < GOOD_DISK_KB else "pass"
    return level, f"{free // 1_000_000} GB are free in /var/lib"


def _clock(seen: Seen, wanted: Wanted, now: float) -> tuple[Level, str]:
    if not seen.word.isdigit():
        return "unknown", "its clock can't be read"
    skew = abs(int(seen.word) - now)
    level: Level = "fail" if skew > MOST_SKEW else "warn" if skew > GOOD_SKEW else "pass"
    return level, f"its clock is {skew:.0f} s off"


def _cgroup(seen: Seen, wanted: Wanted, now: float) -> tuple[Level, str]:
    return ("pass", f"cgroups {seen.word}") if seen.word else ("fail", "no memory control group is mounted")


def _architecture(seen: Seen, wanted: Wanted, now: float) -> tuple[Level, str]:
    if not seen.word:
        return "unknown", "its architecture can't be told"
    known = {"arm64": "aarch64", "amd64": "x86_64"}.get(seen.word, seen.word)
    if known in wanted.architectures:
        return "pass", f"its architecture is {known}"
    return "fail", f"the release has no file for {known}, but for {', '.join(wanted.architectures) or 'none'}"


def _server(seen: Seen, wanted: Wanted, now: float) -> tuple[Level, str]:
    if wanted.servers is None:
        return "pass", "no control plane is wanted"
    if seen.word in wanted.servers:
        return "pass", f"the release carries the control plane for {seen.word}"
    return (
        "fail",
        f"the release carries no control plane for {seen.word}, but for {', '.join(wanted.servers) or 'none'}",
    )


def _ours(seen: Seen, wanted: Wanted, now: float) -> tuple[Level, str]:
    others = set(seen.text.split()) - {wanted.installation}
    if "@hand" in others:
        return "fail", "it has an agent that this installer did not put there"
    if others:
        return "fail", f"it belongs to the installation {', '.join(sorted(others))}"
    return "pass", "it belongs to nobody else"


def _ports(seen: Seen, wanted: Wanted, now: float) -> tuple[Level, str]:
    taken = [line.partition(" ")[2] for line in seen.text.splitlines() if line.startswith("taken ")]
    if taken:
        return "fail", f"port {', '.join(taken)} is taken by something else"
    return ("unknown", "whether its ports are free can't be told") if seen.code else ("pass", "its ports are free")


def _reach(seen: Seen, wanted: Wanted, now: float) -> tuple[Level, str]:
    lines = [line.split(maxsplit=2) for line in seen.text.splitlines()]
    wrong = [f"{line[1]} ({line[2]})" for line in lines if line[:1] == ["no"] and len(line) > 2]
    if wrong:
        return "fail", f"it does not reach {', '.join(wrong)}"
    late = [line[1] for line in lines if line[:1] == ["late"]]
    if late or seen.code:
        return "unknown", f"whether it reaches {', '.join(late) or 'queue and store'} shows later"
    return "pass", "it reaches queue and store"


def _mounts(seen: Seen, wanted: Wanted, now: float) -> tuple[Level, str]:
    missing = seen.text.split("\n") if seen.text.strip() else []
    return ("fail", f"there is no {', '.join(one for one in missing if one)}") if missing else ("pass", "mounts exist")


def _gpus(seen: Seen, wanted: Wanted, now: float) -> tuple[Level, str]:
    if not wanted.gpus:
        return "pass", "no GPU is wanted"
    found = [line.split(",") for line in seen.text.splitlines()]
    known = {part.strip() for line in found for part in line}
    missing = [one for one in wanted.gpus if one not in known]
    return ("fail", f"the driver shows no GPU {', '.join(missing)}") if missing else ("pass", "its GPUs are there")


CHECKS: tuple[Check, ...] = (
    Check(
        "system",
        lambda _: '. /etc/os-release; echo "$ID $VERSION_ID"',
        _system,
        "Debian 12 and Ubuntu 24.04 are tested.",
    ),
    Check(
        "python",
        lambda _: "python3 -c 'import sys; print(\"%d.%d\" % sys.version_info[:2])'",
        _python,
        "install Python 3.11 or newer (apt-get install python3).",
    ),
    Check(
        "systemd",
        lambda _: "[ -d /run/systemd/system ] && echo yes || echo no",
        _systemd,
        "use a machine with systemd.",
    ),
    Check(
        "engine",
        lambda _: probes.ENGINE,
        _engine,
        "install it (apt-get install docker.io) and start it (systemctl start docker).",
    ),
    Check("iptables", lambda _: probes.IPTABLES, _iptables, "install it (apt-get install iptables)."),
    Check("disk", lambda _: "df -Pk /var/lib | awk 'NR==2 {print $4}'", _disk, "make room: 20 GB are a good start."),
    Check("clock", lambda _: "date +%s", _clock, "set it, and let it follow the time (apt-get install chrony)."),
    Check(
        "cgroup",
        lambda _: (
            "[ -e /sys/fs/cgroup/cgroup.controllers ] && echo v2 || { [ -d /sys/fs/cgroup/memory ] && echo v1; }; true"
        ),
        _cgroup,
        "boot it with control groups (memory).",
    ),
    Check("architecture", lambda _: "uname -m", _architecture, "build the release for it, or leave the machine out."),
    Check(
        "server",
        lambda wanted: "true" if wanted.servers is None else python_probe(probes.SERVER, []),
        _server,
        "make its file (tools/server_release.py), and release it (`remora server release-agent`).",
    ),
    Check(
        "ours", lambda _: probes.OURS, _ours, "remove that agent (`remora-agent uninstall`), or leave the machine out."
    ),
    Check(
        "ports",
        lambda wanted: python_probe(probes.PORTS, pairs_of(list(wanted.listens.items()))),
        _ports,
        "choose another port in `queue`, `store` or `dashboard`.",
    ),
    Check(
        "reach",
        lambda wanted: python_probe(probes.REACH, pairs_of(wanted.reaches)),
        _reach,
        "correct the address or its name, or open the way.",
    ),
    Check(
        "mounts",
        lambda wanted: "; ".join(f"[ -d {quoted(one)} ] || echo {quoted(one)}" for one in wanted.mounts) or "true",
        _mounts,
        "make the folder, or take it out of `mounts`.",
    ),
    Check(
        "gpus",
        lambda wanted: "nvidia-smi --query-gpu=index,uuid --format=csv,noheader" if wanted.gpus else "true",
        _gpus,
        "install NVIDIA's driver, or correct `gpus`.",
    ),
)
FACTS: dict[str, Callable[[Wanted], str]] = {
    "source": lambda wanted: python_probe(probes.SOURCE, [host for host, _ in wanted.reaches]),
    "machine": lambda _: "uname -m",
}


def script(wanted: Wanted) -> str:
    """All probes as one script; each section ends in a line `@@id code`. Pure."""
    probes = {**{check.id: check.probe(wanted) for check in CHECKS}, **{k: probe(wanted) for k, probe in FACTS.items()}}
    return "\n".join(f"( {probe}\n) 2>&1; printf '\\n@@%s %s\\n' {name} $?" for name, probe in probes.items())


def sections(text: str) -> dict[str, Seen]:
    """What each probe printed. Pure."""
    found: dict[str, Seen] = {}
    lines: list[str] = []
    for line in text.splitlines():
        end = _SECTION.match(line)
        if end is None:
            lines.append(line)
            continue
        found[end[1]] = Seen("\n".join(lines).strip(), int(end[2]))
        lines = []
    return found


def judge(text: str, wanted: Wanted, now: float) -> list[Outcome]:
    """An outcome for each check; `now` in seconds since 1970. Pure."""
    seen = sections(text)
    outcomes = []
    for check in CHECKS:
        if check.id not in seen:
            outcomes.append(Outcome(check.id, "unknown", f"the check of {check.id} did not run"))
            continue
        level, sentence = check.outcomes(seen[check.id], wanted, now)
        outcomes.append(Outcome(check.id, level, sentence, check.fix if level in ("fail", "warn") else ""))
    return outcomes


async def look(session: Session, wanted: Wanted, clock: Callable[[], float]) -> Report:
    """What a machine is like; nothing is changed on it. Raises RemoteError."""
    answer = await session.ask(["sh", "-c", script(wanted)], seconds=120)
    seen = sections(answer.out)
    facts = {name: seen[name].word for name in FACTS if name in seen and seen[name].code == 0}
    return Report(session.place, judge(answer.out, wanted, clock()), facts)


async def survey(machines: Mapping[Place, Wanted], clock: Callable[[], float]) -> list[Report]:
    """Reports of all machines, looked at in parallel. Raises PreflightError with every fault of every machine."""

    async def one(place: Place) -> Report:
        async with connected(place) as session:
            return await look(session, machines[place], clock)

    results = await in_parallel(list(machines), one)
    lines: list[str] = []
    reports: list[Report] = []
    for result in results:
        if isinstance(result, RemoteError):
            lines.append(str(result))
            continue
        reports.append(result)
        lines.extend(f"{result.place.name}: {one.sentence}: {one.remedy}" for one in result.failures)
    if lines:
        raise PreflightError(lines)
    return reports
