"""What a command finds in its container, and how tightly it is kept."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from worker.rig import Rig, archive, docker
from worker_bootstrap.protocol.job import Mount

pytestmark = pytest.mark.needs("engine")
CAPABILITIES = {"CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "SETUID", "SETGID", "KILL"}
MIB = 1 << 20


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of the machine that jobs may mount."""
    folder = tmp_path_factory.mktemp("shared")
    (folder / "data.txt").write_text("of the machine\n")
    (folder / "outward").symlink_to("/etc")
    (folder / "inward").symlink_to(folder)
    return folder


@pytest.fixture(scope="module")
def own(make_module_rig: Any, shared: Path) -> Rig:
    """One slot, an allow-list with one folder."""
    rig = make_module_rig(slots=1, mounts_allowed=[str(shared)])
    rig.agent.start()
    return rig


# ---- the contract -------------------------------------------------------------------------------------
def test_every_configuration_file_is_there_as_json_and_as_yaml(rig: Rig) -> None:
    odd = {"text": "ä 😀 \u2028 \x7f \ud800 tab\t", "n": 1, "f": 0.5, "yes": True, "none": None, "list": ["a"]}
    command = 'cd /valohai/config; for f in *.json *.yaml; do echo "== $f"; cat $f; done'
    record = rig.run(command, config={"parameters": odd})
    files: dict[str, str] = {}
    for line in rig.lines(record, "stdout"):
        if line.startswith("== "):
            name = line.removeprefix("== ")
            files[name] = ""
        else:
            files[name] += line + "\n"
    stems = {"inputs", "parameters", "execution", "distributed", "api", "runtime"}
    assert set(files) == {f"{stem}.{suffix}" for stem in stems for suffix in ("json", "yaml")}
    for stem in stems:
        assert yaml.safe_load(files[f"{stem}.yaml"]) == json.loads(files[f"{stem}.json"])
    assert json.loads(files["parameters.json"]) == odd
    assert json.loads(files["execution.json"]) == {"valohai.execution-title": "A title"}
    assert json.loads(files["runtime.json"])["attempt-number"] == 1
    assert set(json.loads(files["api.json"])) == {"set_status_detail", "input_request", "trigger_catalog"}
    assert json.loads(files["distributed.json"])["config"]["required_count"] == 1


def test_variables_and_working_directory(rig: Rig) -> None:
    env = {"VH_EXECUTION_ID": "e", "MINE": "plain $HOME 'quoted'\nsecond line", "VH_INPUTS_DIR": "/elsewhere"}
    record = rig.run("python -c 'import json, os; print(json.dumps(dict(os.environ)))'\npwd", env=env)
    lines = rig.lines(record, "stdout")
    shown = json.loads(lines[0])
    assert lines[1] == "/valohai/repository"
    for name in ("config", "inputs", "outputs", "repository"):
        assert shown[f"VH_{name.upper()}_DIR"] == f"/valohai/{name}"
    assert shown["MINE"] == env["MINE"]
    assert (shown["VH_JOB_ID"], shown["VH_EXECUTION_ID"]) == (f"exec-{record.job.attempt}", "e")
    assert shown["PYTHONUNBUFFERED"] == "1"


def test_the_code_is_there_and_may_be_written(rig: Rig) -> None:
    files: dict[str, str | bytes] = {"train.py": "print('trained')", "lib/data.bin": b"\0\1"}
    record = rig.run("python train.py; wc -c < lib/data.bin; touch made && echo written", files=files)
    assert rig.lines(record, "stdout") == ["trained", "2", "written"]


@pytest.mark.parametrize(
    ("command", "outcome", "code"),
    [
        ("false\ntrue", "complete", 0),
        ("true\nfalse", "error", 1),
        ("exit 7\ntrue", "error", 7),
        ("none-such-command\necho on", "complete", 0),
        ("none-such-command", "error", 127),
    ],
)
def test_only_the_last_command_counts(rig: Rig, command: str, outcome: str, code: int) -> None:
    end = rig.run(command).ends[0]
    assert (end.outcome, end.exit_code) == (outcome, code)
    assert end.reason == ("done" if code == 0 else "exit_code")


def test_a_command_is_taken_as_it_is_written(rig: Rig) -> None:
    command = 'echo \'single\' "double" \\$HOME $((1+1)) \'{"a": "b c"}\'\nX=\'a\nb\'; echo "$X"\necho ä; # comment'
    assert rig.lines(rig.run(command), "stdout") == ['single double $HOME 2 {"a": "b c"}', "a", "b", "ä"]


def test_a_shebang_chooses_the_interpreter(rig: Rig) -> None:
    record = rig.run("#!/usr/bin/env python3\nimport sys\nprint('python', sys.version_info.major)\nsys.exit(5)")
    assert rig.lines(record, "stdout") == ["python 3"]
    assert record.ends[0].exit_code == 5


def test_the_configuration_can_not_be_changed(rig: Rig) -> None:
    record = rig.run("rm -f /valohai/config/*.json; echo x > /valohai/config/new; ls /valohai/config | wc -l")
    assert rig.lines(record, "stdout") == ["13"]


@pytest.mark.security("N25")
def test_a_hostile_archive_is_refused_here_too(rig: Rig) -> None:
    record = rig.run("echo never", code=archive({"../evil": "x"}))
    end = record.ends[0]
    assert (end.outcome, end.reason, end.detail) == ("error", "code_archive_bad", "entry '../evil' leaves the archive")
    assert rig.lines(record, "stdout") == []
    assert not list(rig.agent.home.rglob("evil"))


# ---- the profile --------------------------------------------------------------------------------------
def test_the_engine_was_told_the_narrow_profile(own: Rig) -> None:
    wanted = {"cpu": 0.5, "memory": 256 * MIB, "pids": 300}
    record = own.master.grant(own.job("echo ready; sleep 60", container=wanted))
    own.master.wait_line(record, "ready")
    details = own.container(record)
    own.master.stop(record, kill=True)
    own.master.ended(record)
    host = details["HostConfig"]
    assert host["CapDrop"] == ["ALL"]
    assert {name.removeprefix("CAP_") for name in host["CapAdd"]} == CAPABILITIES
    assert host["SecurityOpt"] == ["no-new-privileges"]
    assert (host["Privileged"], host["PidMode"], host["UTSMode"], host["IpcMode"]) == (False, "", "", "private")
    assert host["LogConfig"]["Type"] == "none"
    assert (host["NanoCpus"], host["Memory"], host["MemorySwap"]) == (500_000_000, 256 * MIB, 256 * MIB)
    assert (host["PidsLimit"], host["ShmSize"]) == (300, 128 * MIB)
    assert host["NetworkMode"] == f"remora-{record.job.attempt}"
    assert host["RestartPolicy"]["Name"] == "no"
    assert host["Devices"] in ([], None) and not host["DeviceRequests"]
    assert all(mount["Type"] == "bind" for mount in details["Mounts"])


def test_the_kernel_keeps_to_it(own: Rig) -> None:
    record = own.run(
        "grep -E 'CapEff|CapBnd|NoNewPrivs|^Seccomp:' /proc/self/status\n"
        "df -k /dev/shm | tail -1 | awk '{print \"shm\", $2}'\n"
        "cat /sys/fs/cgroup/pids.max /sys/fs/cgroup/pids/pids.max 2>/dev/null | sed 's/^/pids /'\n"
        "cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null | sed 's/^/memory /'\n"
        "echo core $(ulimit -c) files $(ulimit -n)",
        container={"memory": 200 * MIB, "pids": 200},
    )
    found = dict(line.replace(":", "").split(None, 1) for line in own.lines(record, "stdout"))
    assert (found["CapEff"], found["CapBnd"]) == ("00000000000000fb", "00000000000000fb")
    assert (found["NoNewPrivs"], found["Seccomp"]) == ("1", "2")
    assert (found["shm"], found["pids"], found["memory"]) == (str(100 * 1024), "200", str(200 * MIB))
    assert found["core"].startswith("0 files")


def test_a_slot_has_its_share_of_the_machine_where_nothing_is_asked(own: Rig) -> None:
    record = own.master.grant(own.job("echo ready; sleep 60"))
    own.master.wait_line(record, "ready")
    host = own.container(record)["HostConfig"]
    own.master.stop(record, kill=True)
    own.master.ended(record)
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert machine // 2 <= host["Memory"] < machine
    assert host["ShmSize"] == host["Memory"] // 2
    assert host["NanoCpus"] == (os.cpu_count() or 1) * 1_000_000_000


def test_more_memory_than_the_share_is_cut_and_said(own: Rig) -> None:
    show = "cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null"
    record = own.run(show, container={"memory": 1 << 50})
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert int(own.lines(record, "stdout")[0]) < machine
    assert any(line.startswith("Memory is limited to ") for line in own.lines(record, "status"))


def test_users_can_ask_for_fewer_cores(own: Rig) -> None:
    record = own.master.grant(own.job("echo ready; sleep 60", env={"VH_CPU_LIMIT": "0.25"}))
    own.master.wait_line(record, "ready")
    assert own.container(record)["HostConfig"]["NanoCpus"] == 250_000_000
    own.master.stop(record, kill=True)
    own.master.ended(record)


# ---- network ------------------------------------------------------------------------------------------
def test_the_hosts_network_only_where_the_group_allows_it(own: Rig) -> None:
    ask = {"VH_DOCKER_NETWORK": "host"}
    command = "python -c 'import socket; print(len(socket.if_nameindex()))'"
    refused = own.run(command, env=ask)
    assert own.lines(refused, "stdout") == ["2"]
    text = "VH_DOCKER_NETWORK=host is left out: this environment does not allow it."
    assert text in own.lines(refused, "status")
    not_asked = own.run(command, container={"host_network": True})
    assert own.lines(not_asked, "stdout") == ["2"]
    allowed = own.run("cat /proc/sys/kernel/hostname", env=ask, container={"host_network": True})
    assert own.lines(allowed, "stdout") == [Path("/proc/sys/kernel/hostname").read_text().strip()]


# ---- mounts -------------------------------------------------------------------------------------------
def mount(source: Path | str, destination: str = "/mnt/data", *, readonly: bool = True) -> dict[str, Any]:
    return {"mounts": [Mount(str(source), destination, readonly)]}


def test_a_folder_of_the_allow_list_is_mounted(own: Rig, shared: Path) -> None:
    record = own.run("cat /mnt/data/data.txt; echo x > /mnt/data/new || echo refused", container=mount(shared))
    assert own.lines(record, "stdout") == ["of the machine", "refused"]
    record = own.run("echo mine > /mnt/data/new", container=mount(shared, readonly=False))
    assert (shared / "new").read_text() == "mine\n"


def test_a_link_inside_the_folder_may_be_mounted(own: Rig, shared: Path) -> None:
    record = own.run("cat /mnt/data/data.txt", container=mount(shared / "inward"))
    assert own.lines(record, "stdout") == ["of the machine"]


@pytest.mark.parametrize("source", ["/etc", "{shared}/outward", "{shared}/../", "{shared}-beside", "/"])
def test_what_is_not_on_the_allow_list_is_refused(own: Rig, shared: Path, source: str) -> None:
    record = own.run("echo never", container=mount(source.format(shared=shared)))
    end = record.ends[0]
    assert (end.outcome, end.reason, end.detail) == ("error", "mount_refused", source.format(shared=shared))
    assert own.lines(record, "stdout") == []


@pytest.mark.parametrize("destination", ["/", "/valohai/config", "/./valohai/inputs", "//valohai/outputs", "relative"])
def test_the_platforms_own_folders_can_not_be_covered(own: Rig, shared: Path, destination: str) -> None:
    end = own.run("echo never", container=mount(shared, destination)).ends[0]
    assert (end.outcome, end.reason) == ("error", "mount_refused")


def test_without_an_allow_list_nothing_is_mounted(rig: Rig, shared: Path) -> None:
    assert rig.run("echo never", container=mount(shared)).ends[0].reason == "mount_refused"


def test_nothing_is_left_of_it(own: Rig) -> None:
    record = own.run("echo done")
    attempt = record.job.attempt
    own.master.wait(lambda: not (own.agent.home / "work" / attempt).exists(), "the folder to go")
    assert docker("ps", "-aq", "--filter", f"label=remora.attempt={attempt}") == ""
    assert docker("network", "ls", "-q", "--filter", f"label=remora.attempt={attempt}") == ""
