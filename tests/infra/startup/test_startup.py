"""Machines of a cloud start by their user data, unchanged: a queue, a worker that runs something, those that fail."""

from __future__ import annotations

import json
import re
import ssl
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from fixtures.aws_cloud import BUCKET, EXTERNAL_ID, REGION, AwsCloud, aws_cloud
from fixtures.bench import Bench, make_bench
from fixtures.cloud_host import CloudHost, make_cloud_image
from fixtures.inputs import FileServer
from fixtures.stack import Stack, running_stack
from fixtures.work import IMAGE
from infra.permissions import AWS_ROWS
from startup.machines import MANIFEST, PAUSES, manifest, wait_for
from support.used import differences
from worker_bootstrap import credential
from worker_bootstrap.credential import JoinCredential
from worker_bootstrap.host.places import architecture
from worker_bootstrap.protocol import crypto
from worker_bootstrap.release import NAME
from worker_bootstrap.startup.rendering import packed, user_data
from worker_bootstrap.startup.settings import AwsPlace, QueueStartup, WorkerStartup

pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.needs("root", "debootstrap", "engine", "image", "moto"),
    pytest.mark.never_real(
        "Start-up of machines in AWS: cloud-init, instance metadata, roles",
        "user data boots systemd hosts; a small IMDSv2; moto checks signatures and policies",
    ),
]
GROUP, LATER = "m6i-xlarge", "g5-xlarge"
GROUPS = "remora-acme-groups"
# Cut off for a twentieth of this, the machine powers off.
OFFLINE_AT_FULL_SCALE = 400.0
SCALE = 0.05
START = "remora-start.service"
PROBE = """python - <<'END'
import urllib.request
try:
    urllib.request.urlopen("http://169.254.169.254/latest/api/token", timeout=2)
    print("metadata REACHED")
except OSError as error:
    print("metadata", "REACHED" if hasattr(error, "code") else "out of reach")
END"""


@dataclass
class Cloud:
    """An account with a release in it, and the machines that were started there."""

    aws: AwsCloud
    key: crypto.SigningKey
    hosts: list[CloudHost] = field(default_factory=list)

    @property
    def place(self) -> AwsPlace:
        return AwsPlace(REGION, self.aws.endpoints)

    def host(self, role: str, *ports: int) -> CloudHost:
        """A machine of this role, not booted yet."""
        host = CloudHost(role, self.aws.roles[role], [self.aws.port, *ports])
        self.hosts.append(host)
        return host

    def queue(self, host: CloudHost) -> QueueStartup:
        """What the queue's machine is told."""
        return QueueStartup(
            installation="acme",
            place=self.place,
            hosts=(host.address, "queue.acme.test"),
            state_secret=self.aws.arns["state"],
            master_secret=self.aws.arns["master"],
            groups_parameter=GROUPS,
            release_keys=(crypto.b64(self.key.public),),
            groups_every=1.0,
            memory=100_000_000,
            pauses=PAUSES,
        )

    def worker(self) -> WorkerStartup:
        """What a worker is told."""
        return WorkerStartup(
            installation="acme",
            group=GROUP,
            place=self.place,
            credential_secret=self.aws.arns["join"],
            releases_bucket=BUCKET,
            release_manifest=MANIFEST,
            release_keys=(crypto.b64(self.key.public),),
            slots=2,
            max_offline=OFFLINE_AT_FULL_SCALE,
            join_deadline=240,
            pauses=PAUSES,
            agent={"scale": SCALE},
        )


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory, agent_file: Path) -> Iterator[Cloud]:
    make_cloud_image()
    key, content = crypto.SigningKey.generate(), agent_file.read_bytes()
    with aws_cloud(tmp_path_factory.mktemp("aws"), ["state", "master", "join", "later", "dead", "empty"]) as aws:
        aws.set_parameter(GROUPS, json.dumps({GROUP: "join"}))
        folder = MANIFEST.rpartition("/")[0]
        aws.put(f"{folder}/{NAME}-{architecture()}.pex", content)
        aws.put(MANIFEST, manifest(key, content))
        stranger = crypto.SigningKey.generate()
        aws.put("agent/strange/manifest.json", manifest(stranger, content))
        made = Cloud(aws, key)
        yield made
        with ThreadPoolExecutor() as together:
            list(together.map(CloudHost.close, made.hosts))


@pytest.fixture(scope="module")
def queue(cloud: Cloud) -> CloudHost:
    """The queue's machine, at work."""
    host = cloud.host("queue")
    host.watch_processes()
    host.boot(user_data(cloud.queue(host)))
    wait_for(host, lambda: cloud.aws.secret("join"), "the join credential")
    return host


# ---- those that fail -------------------------------------------------------------------------------
@dataclass(frozen=True)
class Failing:
    """A machine that can't become a worker, by what it is told, and what it must say."""

    change: Callable[[Cloud], dict[str, Any]]
    says: str
    deadline: float = 15.0


FAILING = {
    "signed by a stranger": Failing(
        lambda _: {"release_manifest": "agent/strange/manifest.json"},
        r"Release of the agent: The release is signed by [0-9a-f]{16}; this machine trusts [0-9a-f]{16}\.",
    ),
    "an old release": Failing(
        lambda _: {"minimum_release": "0.2.0"},
        r"The release 0\.1\.0 is older than the oldest that is taken here, 0\.2\.0",
    ),
    "no credential": Failing(
        lambda cloud: {"credential_secret": cloud.aws.arns["empty"]},
        r"Join credential: The secret \S+ is missing or holds no join credential yet: the queue's machine writes it",
    ),
    "a dead queue": Failing(
        lambda cloud: {"credential_secret": cloud.aws.arns["dead"]},
        r"not joined yet: .*(refused|111)",
        deadline=90.0,
    ),
}


@pytest.fixture(scope="module")
def failed(cloud: Cloud, queue: CloudHost) -> dict[str, CloudHost]:
    """All of them at once: each waits for its own end."""
    good = credential.decode(cloud.aws.secret("join"))
    dead: JoinCredential = replace(good, queue_url=f"rediss://{queue.address}:7")
    cloud.aws.set_secret("dead", dead.encode())

    def boot(failing: Failing) -> CloudHost:
        # The agent's own timer for machines that are cut off is tried below.
        told = replace(cloud.worker(), join_deadline=failing.deadline, max_offline=0, **failing.change(cloud))
        host = cloud.host("worker")
        host.boot(user_data(told))
        return host

    with ThreadPoolExecutor() as together:
        return dict(zip(FAILING, together.map(boot, FAILING.values()), strict=True))


# ---- those that work ---------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def stack(cloud: Cloud, queue: CloudHost, failed: dict[str, CloudHost]) -> Iterator[Stack]:
    """A control plane that has imported the installation. Those that fail do so meanwhile."""
    with running_stack(cloud.aws.environment()) as running:
        file = running.home / "acme.json"
        file.write_text(json.dumps(document(cloud, running, queue.address)))
        done = running.command("import-installation", str(file), **cloud.aws.environment())
        assert done.endswith("Installation acme: 1 worker groups, 4 stores; imported.\n")
        yield running


def document(cloud: Cloud, stack: Stack, address: str) -> dict[str, Any]:
    """What the stack exports."""
    secret = f"aws:{cloud.aws.arns['master']}"
    tls = {name: f"{secret}#{name}" for name in ("ca", "certificate", "key")}
    stores = [
        {"name": purpose, "purpose": purpose, "kind": "folder", "location": str(stack.home / "stores" / purpose)}
        for purpose in ("code", "releases", "logs", "data")
    ]
    return {
        "name": "acme",
        "flavour": "private_worker",
        "provider": "aws",
        "access": {"provider": "aws", "region": REGION, "role": cloud.aws.master, "external_id": EXTERNAL_ID},
        "queue": {"url": f"rediss://{address}:7379", "password": f"{secret}#password", **tls},
        "stores": stores,
        "groups": [{"slug": GROUP, "name": GROUP, "join_secret": f"{secret}#join_secret.{GROUP}"}],
    }


@pytest.fixture(scope="module")
def worker(cloud: Cloud, stack: Stack) -> CloudHost:
    """A worker's machine that has joined."""
    host = cloud.host("worker", urlsplit(stack.url).port or 80)
    host.watch_processes()
    host.boot(user_data(cloud.worker()))
    joined = "SELECT count(*) FROM worker WHERE state = 'active' AND name = ?"
    wait_for(host, lambda: stack.query(joined, host.instance)[0][0], "a worker")
    host.load(IMAGE)
    return host


@pytest.fixture(scope="module")
def bench(stack: Stack, served: FileServer) -> Bench:
    return make_bench(stack, served, "startup")


def test_an_execution_runs_on_a_machine_that_started_by_itself(bench: Bench, worker: CloudHost) -> None:
    ran = bench.run(PROBE, environment=GROUP, timeout=180)
    assert ran.shown["status"] == "complete", ran.text + worker.journal()
    assert "metadata out of reach" in ran.lines("stdout")


def test_what_a_worker_kept_of_its_settings(worker: CloudHost) -> None:
    kept = json.loads(worker("cat", "/var/lib/remora-agent/agent.json"))
    assert (kept["name"], kept["group"], kept["max_offline"]) == (worker.instance, GROUP, OFFLINE_AT_FULL_SCALE)
    assert kept["power_off"] == ["systemctl", "poweroff"]
    assert "mounts_allowed" not in kept
    assert worker("stat", "-c", "%a", "/var/lib/remora-agent/agent.json").strip() == "600"
    trust = json.loads(worker("cat", "/opt/remora-agent/trust.json"))
    assert trust["minimum_version"] == "0.1.0"
    wait_for(worker, lambda: worker.ask("systemctl", "is-enabled", START).stdout == "disabled\n", "its last step")
    assert worker.ask("systemctl", "is-active", "remora-deadline.timer").stdout == "inactive\n"
    assert f"This machine is a worker of group {GROUP} now." in worker.console()


@pytest.mark.security("I06")
def test_only_the_port_of_tls_is_open_on_the_queue(queue: CloudHost) -> None:
    listening = {line.split()[3] for line in queue("ss", "-Htln").splitlines()}
    ours = {"169.254.169.254:80", *(address for address in listening if address.startswith("127.0.0.1:"))}
    assert {address.rpartition(":")[2] for address in listening - ours} == {"7379"}
    assert not queue("ss", "-Huln").strip()
    assert queue.ask("systemctl", "is-enabled", "redis-server").stdout == "masked\n"


@pytest.mark.security("I07")
def test_nobody_comes_to_the_queue_without_certificate_name_and_password(cloud: Cloud, queue: CloudHost) -> None:
    join = credential.decode(cloud.aws.secret("join"))
    assert join.queue_url == f"rediss://{queue.address}:7379"
    words = ["redis-cli", "--tls", "--cacert", "/etc/remora-queue/ca.pem", "-p", "7379", "-h"]
    done = queue.ask(*words, queue.address, "ping")
    assert "PONG" not in done.stdout, "no certificate"
    own = ["--cert", "/etc/remora-queue/worker.pem", "--key", "/etc/remora-queue/worker.key"]
    for name, text in (("worker.pem", join.certificate), ("worker.key", join.key)):
        queue("sh", "-c", f"cat > /etc/remora-queue/{name}", given=text)
    assert queue.ask(*words, queue.address, *own, "ping").stdout.startswith("NOAUTH"), "no name"
    # Not as an argument, not even for a moment: every command line is looked at below.
    named = ["sh", "-c", 'REDISCLI_AUTH=$(cat) exec "$@"', "sh", *words, queue.address, *own, "--user", "join"]
    assert queue.ask(*named, "ping", given=join.join_password).stdout == "PONG\n"
    assert "NOPERM" in queue.ask(*named, "keys", "*", given=join.join_password).stdout
    names = ssl.DER_cert_to_PEM_cert(ssl.PEM_cert_to_DER_cert(queue("cat", "/etc/remora-queue/server.pem")))
    shown = queue("openssl", "x509", "-noout", "-text", given=names)
    assert f"IP Address:{queue.address}, DNS:queue.acme.test" in shown


def secrets_of(cloud: Cloud) -> set[str]:
    """Everything that nobody may read: passwords, join secrets, each line of a private key, keys of roles."""
    state = json.loads(cloud.aws.secret("state"))
    found = {*state["passwords"].values(), *state["join_secrets"].values(), cloud.aws.secret("join")[:80]}
    for key in (state["ca_key"], *(client["key"] for client in state["clients"].values())):
        found |= {line for line in key.splitlines() if re.fullmatch(r"[A-Za-z0-9+/=]{40,}", line)}
    for role in cloud.aws.roles.values():
        found |= {role["SecretAccessKey"], role["Token"]}
    return found


@pytest.mark.security("I03")
def test_no_secret_is_where_others_look(cloud: Cloud, queue: CloudHost, worker: CloudHost, stack: Stack) -> None:
    secrets = secrets_of(cloud)
    assert len(secrets) >= 12
    places = {
        "user data of the queue": user_data(cloud.queue(queue)),
        "user data of a worker": user_data(cloud.worker()),
        "log of the control plane": "".join(path.read_text() for path in stack.home.glob("log/*.log")),
    }
    for host in (queue, worker):
        places |= {f"{host.instance}: {name}": text for name, text in host.public_places().items()}
    for place, text in places.items():
        assert text, place
        assert not [secret[:6] for secret in secrets if secret in text], place


def test_a_machine_that_replaces_the_queue_takes_its_secrets_over(cloud: Cloud, queue: CloudHost) -> None:
    before = json.loads(cloud.aws.secret("state")), json.loads(cloud.aws.secret("master"))
    join = credential.decode(cloud.aws.secret("join"))
    other = cloud.host("queue")
    other.boot(user_data(cloud.queue(other)))
    place = f"rediss://{other.address}:7379"
    try:
        found = wait_for(
            other, lambda: (now := credential.decode(cloud.aws.secret("join"))).queue_url == place and now, place
        )
        assert found == replace(join, queue_url=place)
        assert (json.loads(cloud.aws.secret("state")), json.loads(cloud.aws.secret("master"))) == before
    finally:
        cloud.aws.set_secret("join", join.encode())
        other.close()


def test_a_group_that_comes_later_gets_what_it_needs(cloud: Cloud, queue: CloudHost, stack: Stack) -> None:
    """The queue goes on as it is, with all that it holds."""
    runs = ("systemctl", "show", "--property=MainPID,ActiveEnterTimestampMonotonic", "remora-queue.service")
    before, join = queue(*runs), credential.decode(cloud.aws.secret("join"))
    cloud.aws.set_parameter(GROUPS, json.dumps({GROUP: "join", LATER: "later"}))
    later = credential.decode(wait_for(queue, lambda: cloud.aws.secret("later"), "the credential of the later group"))
    own = {"group": LATER, "join_secret": later.join_secret}
    assert later == replace(join, **own) and later.join_secret != join.join_secret
    assert json.loads(cloud.aws.secret("master"))[f"join_secret.{LATER}"] == later.join_secret
    assert json.loads(cloud.aws.secret("state"))["join_secrets"][LATER] == later.join_secret
    assert (queue(*runs), credential.decode(cloud.aws.secret("join"))) == (before, join)
    assert f"Worker groups: {GROUP}, {LATER}; their secrets are written." in queue.console()

    cloud.aws.set_parameter(GROUPS, "nonsense")
    wait_for(queue, lambda: f"The parameter {GROUPS} names no groups" in queue.console(), "a word about it")
    cloud.aws.set_parameter(GROUPS, json.dumps({GROUP: "join", LATER: "later"}))


@pytest.mark.usefixtures("worker")
def test_roles_use_what_their_policies_allow_and_nothing_else(cloud: Cloud) -> None:
    """Until here; machines that fail had other reasons."""
    told = cloud.aws.calls()
    # What the control plane may do with groups waits for the loop that does it.
    unused = {"master": {row.action for row in AWS_ROWS if row.by == "scaling"}}
    for actor in ("master", "queue", "worker"):
        rows = [row for row in AWS_ROWS if row.actor == actor]
        assert differences(told[actor], rows, unused.get(actor, ())) == [], actor


@pytest.mark.security("I05")
@pytest.mark.parametrize("name", FAILING)
def test_a_machine_that_never_joins_says_why_and_powers_off(failed: dict[str, CloudHost], name: str) -> None:
    host, failing = failed[name], FAILING[name]
    wait_for(host, host.is_off, "its end")
    said = host.console()
    assert re.search(failing.says, said), said[-3000:]
    last = f"This machine has not joined within {failing.deadline:g} s and powers off."
    assert last in said
    assert said.index(last) > re.search(failing.says, said).start()  # pyright: ignore[reportOptionalMemberAccess]


def test_a_worker_that_is_cut_off_powers_off(queue: CloudHost, worker: CloudHost, bench: Bench) -> None:
    """Not by idling, which it did until now. The last of this file: nothing works after it."""
    assert not worker.is_off(), worker.console()[-3000:]
    queue.close()
    wait_for(worker, worker.is_off, "its end")
    assert re.search(r"cut off for \d+ s: powering off", worker.console())


def test_user_data_fits_into_what_a_cloud_takes(cloud: Cloud) -> None:
    """Packed, cloud-init finds the same script in it."""
    script = user_data(cloud.worker())
    done = subprocess.run(["sh", "-c", "base64 -d | gunzip"], input=packed(script), capture_output=True, text=True)
    assert done.stdout == script
