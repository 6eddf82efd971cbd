"""User data of machines: the same bytes each time, readable, without secrets; settings that can't work are refused."""

from __future__ import annotations

import base64
import gzip
import json
import os
import re
import subprocess
from dataclasses import asdict, replace
from pathlib import Path

import pytest

import worker_bootstrap
from worker_bootstrap.startup.rendering import MOST_BYTES, packed, user_data
from worker_bootstrap.startup.settings import (
    AwsPlace,
    AzurePlace,
    GcpPlace,
    MasterStartup,
    OpenstackPlace,
    Place,
    QueueStartup,
    SshPlace,
    Startup,
    StartupError,
    Surroundings,
    WorkerStartup,
)

SOURCE = Path(worker_bootstrap.__file__).parent
ROOT = Path(__file__).parents[3]
ARN = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:remora-acme"
KEYS = ("MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=",)
WORKER = WorkerStartup(
    installation="acme",
    group="m6i-xlarge",
    place=AwsPlace("eu-west-1"),
    credential_secret=f"{ARN}-join-m6i-xlarge",
    releases_bucket="remora-acme-releases",
    release_manifest="agent/0.1.0/manifest.json",
    release_keys=KEYS,
)
QUEUE = QueueStartup(
    installation="acme",
    place=AwsPlace("eu-west-1"),
    hosts=("10.87.0.10", "198.51.100.7"),
    state_secret=f"{ARN}-state",
    master_secret=f"{ARN}-queue",
    groups_parameter="remora-acme-groups",
    release_keys=KEYS,
)
MASTER = MasterStartup(
    installation="acme",
    place=AwsPlace("eu-west-1"),
    domain="remora.example.com",
    port=8765,
    document=json.dumps({"name": "acme", "queue": {"url": "rediss://10.87.0.10:7379/0"}}),
    database_host="remora-acme-database.abc.eu-west-1.rds.amazonaws.com",
    database_port=5432,
    database_name="remora",
    database_secret=f"{ARN}-database",
    releases_bucket="remora-acme-releases",
    release_manifest="agent/0.1.0/manifest.json",
    release_keys=KEYS,
)


def unfold(script: str, folder: Path) -> None:
    """Run the part of a script that writes files, in a folder of the test instead of /opt."""
    head, _, _ = script.partition("cat > /etc/systemd/system/remora-start.service")
    body = head[head.index("mkdir -p /opt/remora-start") :].replace("/opt/remora-start\n", f"{folder}\n")
    subprocess.run(["sh", "-eu"], input=body, text=True, check=True)


@pytest.mark.parametrize("settings", [WORKER, QUEUE, MASTER], ids=["worker", "queue", "master"])
class TestScript:
    def test_the_same_settings_give_the_same_bytes(self, settings: Startup) -> None:
        assert user_data(settings) == user_data(replace(settings))
        assert packed(user_data(settings)) == packed(user_data(settings))

    def test_it_fits_with_room_for_an_authority(self, settings: Startup) -> None:
        assert len(base64.b64decode(packed(user_data(settings)))) < MOST_BYTES - 1800

    def test_what_a_cloud_takes_is_the_script(self, settings: Startup) -> None:
        assert gzip.decompress(base64.b64decode(packed(user_data(settings)))).decode() == user_data(settings)

    def test_settings_and_sources_arrive_as_they_are(self, settings: Startup, tmp_path: Path) -> None:
        awkward = Surroundings(ca_bundle="-----BEGIN\n$(touch x) `y` \\ '\"\nEND-OF-FILE\n", no_proxy=("a", "$b"))
        told = replace(settings, surroundings=awkward)
        unfold(user_data(told), tmp_path)
        assert json.loads((tmp_path / "settings.json").read_text()) == json.loads(json.dumps(asdict(told)))
        files = [path for path in tmp_path.rglob("*.py") if path.name != "__main__.py" and path.stat().st_size]
        assert len(files) >= 9
        for path in files:
            assert path.read_text() == (SOURCE.parent / path.relative_to(tmp_path)).read_text(), path

    def test_its_parts_need_nothing_that_is_installed(self, settings: Startup, tmp_path: Path) -> None:
        unfold(user_data(settings), tmp_path)
        kind = {WorkerStartup: "worker", QueueStartup: "queue", MasterStartup: "master"}[type(settings)]
        words = ["python3", "-I", "-c"]
        load = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import worker_bootstrap.startup.boot.{kind} as m; "
        load += "print(m.__file__)"
        bare = {"PATH": os.environ["PATH"]}
        done = subprocess.run([*words, load], env=bare, capture_output=True, text=True)
        assert done.stdout.startswith(str(tmp_path)), done.stderr


def test_workers_and_control_plane_have_a_deadline_before_anything_else() -> None:
    worker = user_data(replace(WORKER, join_deadline=600))
    assert worker.index("OnActiveSec=600\n") < worker.index("enable --quiet --now remora-deadline.timer")
    assert worker.index("remora-deadline.timer\n") < worker.index("mkdir -p /opt/remora-start")
    assert "ConditionPathExists=!/var/lib/remora-agent/identity/worker.json\n" in worker
    assert "This machine has not joined within 600 s and powers off." in worker
    master = user_data(replace(MASTER, ready_deadline=900))
    assert master.index("OnActiveSec=900\n") < master.index("mkdir -p /opt/remora-start")
    assert "ConditionPathExists=!/run/remora-start.done\n" in master
    assert "This machine does not serve the dashboard within 900 s and powers off." in master
    assert "remora-deadline.timer" not in user_data(QUEUE)


def test_shells_understand_it() -> None:
    for settings in (WORKER, QUEUE, MASTER):
        assert subprocess.run(["sh", "-n"], input=user_data(settings), text=True).returncode == 0


INTO_A_SHELL = re.compile(r"\|\s*(sudo\s+)?(ba|da|z)?sh\b")


@pytest.mark.security("I05")
def test_nothing_is_fetched_into_a_shell() -> None:
    """Neither by a machine that starts, nor by people who do what the pages say."""
    pages = [path.read_text() for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]]
    assert len(pages) > 20
    assert not [page[:60] for page in [user_data(WORKER), user_data(QUEUE), *pages] if INTO_A_SHELL.search(page)]


PLACES: list[Place] = [GcpPlace("p", "r"), AzurePlace("s", "r", "v"), OpenstackPlace("https://k", "r"), SshPlace()]


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.provider)
def test_a_cloud_without_a_script_yet_says_so(place: Place) -> None:
    with pytest.raises(StartupError, match=f"no start-up script for {place.provider} yet; there is one for aws"):
        user_data(replace(WORKER, place=place))


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (replace(WORKER, group="M6i"), "'M6i' is no name: lower-case letters"),
        (replace(WORKER, installation="a\nb"), "is no name"),
        (replace(QUEUE, groups_every=0), "groups_every: seconds above 0"),
        (replace(WORKER, release_keys=()), "release_keys is empty: no release of the agent could be trusted"),
        (replace(WORKER, join_deadline=0), "join_deadline: seconds above 0"),
        (replace(QUEUE, hosts=()), "hosts is empty: name the host"),
        (replace(MASTER, ready_deadline=0), "ready_deadline: seconds above 0"),
        (replace(MASTER, domain="https://remora"), "'https://remora' is no name of a host"),
        (replace(WORKER, place=AwsPlace("eu-west-1", {"s3": "http://10.0.0.1"})), "s3: http://10.0.0.1: one of s3, "),
        (replace(WORKER, place=AwsPlace("eu-west-1", {"ec2": "https://a.b"})), "ec2: https://a.b: one of s3, "),
        (replace(WORKER, place=AwsPlace("eu west")), "'eu west' is no region of AWS"),
    ],
)
def test_settings_that_no_machine_could_use(settings: Startup, sentence: str) -> None:
    with pytest.raises(StartupError, match=sentence):
        user_data(settings)


def test_too_much_for_a_cloud_names_the_remedy() -> None:
    authorities = base64.b64encode(os.urandom(8_000)).decode()
    told = replace(WORKER, surroundings=Surroundings(ca_bundle=authorities))
    with pytest.raises(StartupError, match=r"has \d+ bytes and a cloud takes 16384: put the certificate authorities"):
        packed(user_data(told))
