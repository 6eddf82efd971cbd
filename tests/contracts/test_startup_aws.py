"""What a new machine asks of AWS with the standard library: metadata, secrets, objects; signed as botocore signs."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from fixtures.aws_cloud import BUCKET, REGION, AwsCloud, aws_cloud
from fixtures.cloud_inside import metadata
from fixtures.store_servers import ACCESS_KEY, SECRET_KEY, Server
from plugin.store_parts import SERVERS_PYTHON
from worker_bootstrap.startup.boot.aws import Aws
from worker_bootstrap.startup.boot.sigv4 import Call, Key, signed_headers
from worker_bootstrap.startup.boot.steps import StepError

# versitygw's own.
S3_REGION = "us-east-1"
NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
BOTOCORE = """
import datetime, json, sys
from botocore import auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

class Fixed(datetime.datetime):
    @classmethod
    def utcnow(cls): return cls(2026, 3, 4, 5, 6, 7)
    @classmethod
    def now(cls, tz=None): return cls(2026, 3, 4, 5, 6, 7, tzinfo=tz)

auth.get_current_datetime = lambda remove_tzinfo=True: Fixed(2026, 3, 4, 5, 6, 7)
signed = []
for call, key in json.load(sys.stdin):
    request = AWSRequest(call["method"], call["url"], headers=call["headers"], data=call["body"].encode())
    kind = auth.S3SigV4Auth if call["service"] == "s3" else auth.SigV4Auth
    who = Credentials(key["key_id"], key["secret"], key["token"] or None)
    kind(who, call["service"], call["region"]).add_auth(request)
    signed.append(request.headers["Authorization"])
print(json.dumps(signed))
"""
JSON = {"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": "secretsmanager.GetSecretValue"}
CALLS = [
    Call(
        "secretsmanager",
        "eu-west-1",
        "POST",
        "https://secretsmanager.eu-west-1.amazonaws.com/",
        JSON,
        b'{"a": "\xc3\xa9"}',
    ),
    Call("secretsmanager", "cn-north-1", "POST", "http://127.0.0.1:8080/", JSON, b"{}"),
    Call("s3", "eu-west-1", "GET", "https://bucket.s3.eu-west-1.amazonaws.com/agent/0.1.0/manifest.json"),
    Call("s3", "us-east-1", "GET", "https://s3.example/bucket/a%20b/%C3%A4~_-.x"),
]
KEYS = [Key("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"), Key("ASIAEXAMPLE", "s/e+cret", "FwoG//token==")]


@pytest.mark.needs("moto")
def test_signatures_are_botocores() -> None:
    pairs = [(call, key) for call in CALLS for key in KEYS]
    asked = [({**asdict(call), "body": call.body.decode()}, asdict(key)) for call, key in pairs]
    done = subprocess.run(
        [str(SERVERS_PYTHON), "-c", BOTOCORE], input=json.dumps(asked), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert [signed_headers(call, key, NOW)["authorization"] for call, key in pairs] == json.loads(done.stdout)


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Callable[..., Aws]]:
    """A machine with these keys of its role, and endpoints."""
    servers: list[ThreadingHTTPServer] = []

    def make(credentials: dict[str, str] | None, region: str = REGION, **endpoints: str) -> Aws:
        about: dict[str, Any] = {"instance": "i-0a1b2c", "role": "the-role", "credentials": credentials}
        (tmp_path / "cloud.json").write_text(json.dumps(about))
        server = ThreadingHTTPServer(("127.0.0.1", 0), metadata(tmp_path))
        servers.append(server)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return Aws({"region": region, "endpoints": endpoints}, f"http://127.0.0.1:{server.server_port}")

    yield make
    for server in servers:
        server.shutdown()
        server.server_close()


def of(key_id: str, secret: str) -> dict[str, str]:
    """A role's keys, as the metadata service tells them; versitygw knows no temporary ones."""
    return {"AccessKeyId": key_id, "SecretAccessKey": secret, "Token": ""}


def test_the_metadata_service_is_asked_by_version_2(machine: Callable[..., Aws]) -> None:
    cloud = machine(of("A", "s"))
    assert cloud.machine() == "i-0a1b2c"
    base = cloud._metadata  # the test's own address of the service
    assert httpx.get(f"{base}/latest/meta-data/instance-id", trust_env=False).status_code == 401, "version 1"
    relayed = {"X-aws-ec2-metadata-token-ttl-seconds": "60", "X-Forwarded-For": "10.0.0.1"}
    assert httpx.put(f"{base}/latest/api/token", headers=relayed, trust_env=False).status_code == 403


def test_a_machine_that_is_no_machine_of_aws() -> None:
    with pytest.raises(StepError, match=r"http://127.0.0.1:1 does not answer \(.*refused"):
        Aws({"region": REGION, "endpoints": {}}, "http://127.0.0.1:1").machine()


def test_a_machine_without_a_role(machine: Callable[..., Aws]) -> None:
    with pytest.raises(StepError, match="This machine has no role: give its launch template an instance profile"):
        machine(None, secretsmanager="http://127.0.0.1:1").secret("x")


# ---- objects ---------------------------------------------------------------------------------------
@pytest.mark.needs("versitygw")
class TestObjects:
    @pytest.fixture(autouse=True)
    def bucket(self, versitygw: Server) -> None:
        folder = versitygw.folder / "releases" / "agent"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "a file~1.pex").write_bytes(b"0123456789")

    def test_an_object_is_read(self, machine: Callable[..., Aws], versitygw: Server) -> None:
        read = bytearray()
        cloud = machine(of(ACCESS_KEY, SECRET_KEY), S3_REGION, s3=versitygw.url)
        cloud.read_object("releases", "agent/a file~1.pex", read.extend, 10)
        assert read == b"0123456789"

    def test_more_than_is_allowed_is_not(self, machine: Callable[..., Aws], versitygw: Server) -> None:
        cloud = machine(of(ACCESS_KEY, SECRET_KEY), S3_REGION, s3=versitygw.url)
        with pytest.raises(StepError, match="has more than 9 bytes"):
            cloud.read_object("releases", "agent/a file~1.pex", lambda _: None, 9)

    def test_an_object_that_is_not_there(self, machine: Callable[..., Aws], versitygw: Server) -> None:
        cloud = machine(of(ACCESS_KEY, SECRET_KEY), S3_REGION, s3=versitygw.url)
        with pytest.raises(StepError, match="agent/none of the bucket releases does not exist: put a release there"):
            cloud.read_object("releases", "agent/none", lambda _: None, 9)

    def test_a_wrong_key(self, machine: Callable[..., Aws], versitygw: Server) -> None:
        cloud = machine(of(ACCESS_KEY, "wrong"), S3_REGION, s3=versitygw.url)
        with pytest.raises(StepError, match=r"This machine's role may not read it: .* Allow it s3:GetObject"):
            cloud.read_object("releases", "agent/a file~1.pex", lambda _: None, 9)

    def test_nobody_answers(self, machine: Callable[..., Aws]) -> None:
        with pytest.raises(StepError, match="does not answer .*: look at route, proxy and security group"):
            machine(of("A", "s"), s3="http://127.0.0.1:1").read_object("b", "k", lambda _: None, 9)


# ---- secrets ---------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AwsCloud]:
    with aws_cloud(tmp_path_factory.mktemp("aws"), ["full", "empty"]) as cloud:
        cloud.put("agent/x", b"of moto")
        yield cloud


@pytest.mark.needs("moto")
class TestSecrets:
    pytestmark = pytest.mark.never_real(
        "Secrets Manager and instance roles of AWS", "moto checks signatures and policies; a small IMDSv2"
    )

    def test_a_secret_is_kept_and_read(self, account: AwsCloud, machine: Callable[..., Aws]) -> None:
        cloud = machine(account.roles["queue"], **account.endpoints)
        cloud.keep_secret(account.arns["full"], 'ä "value"')
        assert cloud.secret(account.arns["full"]) == 'ä "value"' == account.secret("full")

    def test_one_without_a_value_is_empty(self, account: AwsCloud, machine: Callable[..., Aws]) -> None:
        cloud = machine(account.roles["queue"], **account.endpoints)
        assert cloud.secret(account.arns["empty"]) == ""
        with pytest.raises(StepError, match="The secret none does not exist: `pulumi up` makes it"):
            cloud.keep_secret("none", "x")

    def test_a_parameter_is_read(self, account: AwsCloud, machine: Callable[..., Aws]) -> None:
        account.set_parameter("groups", '{"a": "b"}')
        cloud = machine(account.roles["queue"], **account.endpoints)
        assert cloud.parameter("groups") == '{"a": "b"}'
        with pytest.raises(StepError, match="The parameter none does not exist: `pulumi up` makes it"):
            cloud.parameter("none")
        with pytest.raises(StepError, match="may not use groups: allow it ssm:GetParameter"):
            machine(account.roles["worker"], **account.endpoints).parameter("groups")

    def test_a_worker_may_only_read(self, account: AwsCloud, machine: Callable[..., Aws]) -> None:
        cloud = machine(account.roles["worker"], **account.endpoints)
        with pytest.raises(StepError, match="may not use .*: allow it secretsmanager:PutSecretValue"):
            cloud.keep_secret(account.arns["full"], "x")
        read = bytearray()
        cloud.read_object(BUCKET, "agent/x", read.extend, 100)
        assert read == b"of moto", "a temporary key, with its token"

    def test_a_role_without_the_right(self, account: AwsCloud, machine: Callable[..., Aws]) -> None:
        cloud = machine(account.roles["nobody"], **account.endpoints)
        with pytest.raises(StepError, match="may not use .*: allow it secretsmanager:GetSecretValue"):
            cloud.secret(account.arns["full"])

    def test_a_key_that_aws_does_not_know(self, account: AwsCloud, machine: Callable[..., Aws]) -> None:
        cloud = machine(of("AKIAUNKNOWN", "s"), **account.endpoints)
        with pytest.raises(StepError, match=r"secretsmanager refuses GetSecretValue of \S+ \(\w+\): "):
            cloud.secret(account.arns["full"])
