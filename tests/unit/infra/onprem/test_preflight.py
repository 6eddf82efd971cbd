"""What preflight makes of what machines print: each check's outcomes, and that a probe that can't run is no failure."""

from __future__ import annotations

import subprocess
from typing import Any

import pytest

from infra.onprem.preflight import CHECKS, Outcome, Wanted, judge, script, sections

NOW = 1_800_000_000.0
GOOD = {
    "system": "debian 12",
    "python": "3.11",
    "systemd": "yes",
    "engine": "runs 20.10.24",
    "iptables": "works",
    "disk": "61000000",
    "clock": "1800000001",
    "cgroup": "v2",
    "architecture": "x86_64",
    "server": "",
    "ours": "",
    "ports": "",
    "reach": "yes queue",
    "mounts": "",
    "gpus": "",
}


def wanted(**changes: Any) -> Wanted:
    return Wanted("lab", ["x86_64"], **changes)


def judged(**printed: str) -> dict[str, Outcome]:
    text = "\n".join(f"{words}\n@@{name} 0" for name, words in {**GOOD, **printed}.items())
    return {one.check: one for one in judge(text, wanted(gpus=["0"] if "gpus" in printed else ()), NOW)}


def test_a_machine_as_it_should_be_passes_everything() -> None:
    assert {one.level for one in judged().values()} == {"pass"}
    assert set(GOOD) == {check.id for check in CHECKS}


@pytest.mark.parametrize(
    ("check", "printed", "level", "sentence"),
    [
        ("system", "fedora 41", "warn", "its system is fedora 41"),
        ("system", "", "unknown", "what system it has can't be told"),
        ("python", "3.9", "fail", "its Python is 3.9"),
        ("python", "sh: 1: python3: not found", "fail", "there is no python3"),
        ("systemd", "no", "fail", "systemd does not run"),
        ("engine", "silent", "fail", "its Docker engine does not answer"),
        ("engine", "missing", "fail", "there is no Docker engine, and apt has no docker.io"),
        ("engine", "installable", "pass", "the package docker.io will be installed"),
        ("engine", "unlisted", "unknown", "whether apt has docker.io shows when it is installed"),
        ("iptables", "Permission denied", "fail", "iptables does not work: Permission denied"),
        ("disk", "3000000", "fail", "3 GB are free in /var/lib"),
        ("disk", "9000000", "warn", "9 GB are free in /var/lib"),
        ("disk", "df: broken", "unknown", "the free disk space can't be told"),
        ("clock", "1800000400", "fail", "its clock is 400 s off"),
        ("clock", "1799999940", "warn", "its clock is 60 s off"),
        ("clock", "", "unknown", "its clock can't be read"),
        ("cgroup", "", "fail", "no memory control group is mounted"),
        ("architecture", "riscv64", "fail", "the release has no file for riscv64, but for x86_64"),
        ("ours", "@hand", "fail", "it has an agent that this installer did not put there"),
        ("ours", "lab\nother", "fail", "it belongs to the installation other"),
        ("ours", "lab", "pass", "it belongs to nobody else"),
        ("ports", "taken 7379", "fail", "port 7379 is taken by something else"),
        ("reach", "late 10.0.0.1:7379", "unknown", "whether it reaches 10.0.0.1:7379 shows later"),
        ("reach", "no queue:7379 Name or service not known", "fail", "it does not reach queue:7379 (Name or service"),
        ("mounts", "/data\n/more", "fail", "there is no /data, /more"),
        ("gpus", "1, GPU-1234", "fail", "the driver shows no GPU 0"),
        ("gpus", "0, GPU-1234", "pass", "its GPUs are there"),
    ],
)
def test_what_is_found_and_what_to_do(check: str, printed: str, level: str, sentence: str) -> None:
    found = judged(**{check: printed})[check]
    assert found.level == level
    assert found.sentence.startswith(sentence)
    assert bool(found.remedy) == (level in ("fail", "warn"))


def test_a_probe_that_did_not_run_is_unknown() -> None:
    assert {one.level for one in judge("", wanted(), NOW)} == {"unknown"}


def test_the_probes_are_one_script_that_every_shell_reads() -> None:
    text = script(wanted(mounts=["/it's here"], reaches=[("127.0.0.1", 9)], listens={"remora-queue": 7379}))
    done = subprocess.run(["sh", "-n"], input=text, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    ran = subprocess.run(["sh", "-c", text], capture_output=True, text=True, timeout=60)
    seen = sections(ran.stdout)
    assert {check.id for check in CHECKS} < set(seen)
    assert seen["mounts"].text == "/it's here"
    assert seen["source"].word == "127.0.0.1"


@pytest.mark.parametrize(
    ("servers", "printed", "level", "sentence"),
    [
        (["server-cp311-x86_64"], "server-cp311-x86_64", "pass", "the release carries the control plane for server-cp"),
        (
            ["server-cp311-x86_64"],
            "server-cp313-x86_64",
            "fail",
            "for server-cp313-x86_64, but for server-cp311-x86_64",
        ),
        (
            [],
            "server-cp311-x86_64",
            "fail",
            "the release carries no control plane for server-cp311-x86_64, but for none",
        ),
        (None, "", "pass", "no control plane is wanted"),
    ],
)
def test_the_release_must_carry_the_control_plane_for_its_machine(
    servers: list[str] | None, printed: str, level: str, sentence: str
) -> None:
    text = "\n".join(f"{words}\n@@{name} 0" for name, words in {**GOOD, "server": printed}.items())
    found = next(one for one in judge(text, wanted(servers=servers), NOW) if one.check == "server")
    assert (found.level, sentence in found.sentence, bool(found.remedy)) == (level, True, level == "fail")
