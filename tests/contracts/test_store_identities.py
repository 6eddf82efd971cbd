"""Keys and tokens that stores get from clouds, from small servers that answer as these document it."""

import base64
import hashlib
import hmac
import json
import os
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from controlplane.data.stores import google_identity
from controlplane.data.stores.aws_identity import AwsKey, GivenKey, MachineIdentity, RoleIdentity
from controlplane.data.stores.azure_identity import Application, DelegationKey, Grant
from controlplane.data.stores.google_identity import KeyFile, MachineAccount
from controlplane.data.stores.http import StoreHttp
from controlplane.data.stores.swift_identity import Login, Tokens
from controlplane.net.reach import Reach
from fixtures.store_rigs import service_account
from fixtures.stores import code_of
from worker_bootstrap.protocol.reach import parse_networks

Answer = tuple[int, str] | tuple[int, str, dict[str, str]]


class Cloud:
    """Answers by path, and remembers what was asked."""

    def __init__(self) -> None:
        self.answers: dict[str, Callable[[dict[str, Any]], Answer]] = {}
        self.seen: list[dict[str, Any]] = []
        cloud = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                parts = urlsplit(self.path)
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                query = {name: values[0] for name, values in parse_qs(parts.query).items()}
                asked = {"path": parts.path, "query": query, "headers": self.headers, "body": body.decode()}
                cloud.seen.append(asked)
                status, text, *more = cloud.answers[parts.path](asked)
                self.send_response(status)
                for name, value in {"Content-Length": str(len(text.encode())), **(more[0] if more else {})}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(text.encode())

            do_POST = do_PUT = do_GET

            def log_message(self, *_: Any) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def cloud() -> Iterator[Cloud]:
    made = Cloud()
    thread = threading.Thread(target=made.server.serve_forever, daemon=True)
    thread.start()
    yield made
    made.server.shutdown()
    made.server.server_close()
    thread.join()


@pytest.fixture
def clock() -> Callable[[], datetime]:
    return lambda: datetime.now(UTC)


@pytest.fixture(autouse=True)
def no_identity(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(("AWS_", "AZURE_", "GCE_"))]:
        monkeypatch.delenv(name)


def in_an_hour() -> str:
    return (datetime.now(UTC) + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")


def sts(asked: dict[str, Any]) -> Answer:
    key = (
        f"<AccessKeyId>ASIA</AccessKeyId><SecretAccessKey>s</SecretAccessKey><SessionToken>{len(asked)}</SessionToken>"
    )
    credentials = f"<Credentials>{key}<Expiration>{in_an_hour()}</Expiration></Credentials>"
    return 200, f'<R xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><A>{credentials}</A></R>'


def only_with(header: str, value: str, found: dict[str, str]) -> Callable[[dict[str, Any]], Answer]:
    return lambda asked: (200 if asked["headers"][header] == value else 401, json.dumps(found))


# ---- AWS -------------------------------------------------------------------------------------------
@pytest.mark.never_real(
    "Roles of AWS, instance roles and web identities",
    "small servers answer as AWS documents it",
)
def test_a_role_is_taken_on_with_the_organisation_as_external_id(cloud, clock, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", cloud.url)
    cloud.answers["/"] = sts
    base = GivenKey(AwsKey("AKIA", "secret"))
    identity = RoleIdentity(base, "arn:aws:iam::123456789012:role/x", "the-organisation", "eu-north-1", clock)
    assert identity.key().key_id == "ASIA"
    identity.key()
    assert len(cloud.seen) == 1, "it is kept while it lives"
    asked = {name: values[0] for name, values in parse_qs(cloud.seen[0]["body"]).items()}
    assert (asked["Action"], asked["ExternalId"]) == ("AssumeRole", "the-organisation")
    assert "/eu-north-1/sts/aws4_request," in cloud.seen[0]["headers"]["Authorization"]


def test_a_key_is_renewed_before_its_addresses_would_outlive_it(cloud, monkeypatch):
    moments = [datetime.now(UTC)]
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", cloud.url)
    cloud.answers["/"] = sts
    identity = RoleIdentity(GivenKey(AwsKey("A", "s")), "arn:x", "", "eu-north-1", lambda: moments[0])
    identity.key()
    moments[0] += timedelta(minutes=50)
    identity.key()
    assert len(cloud.seen) == 2


def test_a_refused_role_says_what_aws_says(cloud, clock, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", cloud.url)
    cloud.answers["/"] = lambda _: (
        403,
        "<E><Error><Message>not authorized to perform: sts:AssumeRole</Message></Error></E>",
    )
    identity = RoleIdentity(GivenKey(AwsKey("A", "s")), "arn:x", "", "eu-north-1", clock)
    assert code_of(identity.key) == "denied"
    with pytest.raises(Exception, match="not authorized to perform: sts:AssumeRole"):
        identity.key()


def test_a_token_service_that_fails_is_no_refusal(cloud, clock, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", cloud.url)
    cloud.answers["/"] = lambda _: (503, "")
    identity = RoleIdentity(GivenKey(AwsKey("A", "s")), "arn:x", "", "eu-north-1", clock)
    assert code_of(identity.key) == "unavailable"


def test_the_role_of_an_instance(cloud, clock, monkeypatch):
    monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", cloud.url)
    role = "/latest/meta-data/iam/security-credentials/"
    found = {"AccessKeyId": "ASIA", "SecretAccessKey": "s", "Token": "t", "Expiration": in_an_hour()}
    cloud.answers = {
        "/latest/api/token": lambda _: (200, "session"),
        role: lambda _: (200, "the-role"),
        f"{role}the-role": only_with("X-aws-ec2-metadata-token", "session", found),
    }
    assert MachineIdentity(clock).key().token == "t"


def test_a_web_identity_and_a_container(cloud, clock, monkeypatch, tmp_path: Path):
    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{cloud.url}/creds")
    monkeypatch.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN", "told")
    found = {"AccessKeyId": "CONT", "SecretAccessKey": "s", "Token": "t", "Expiration": in_an_hour()}
    cloud.answers = {"/creds": only_with("Authorization", "told", found), "/": sts}
    assert MachineIdentity(clock).key().key_id == "CONT"
    (tmp_path / "token").write_text("a.web.token\n")
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", cloud.url)
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(tmp_path / "token"))
    monkeypatch.setenv("AWS_ROLE_ARN", "arn:x")
    assert MachineIdentity(clock).key().key_id == "ASIA"
    assert cloud.seen[-1]["query"]["WebIdentityToken"] == "a.web.token"


def test_a_machine_without_a_role(cloud, clock, monkeypatch):
    monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", cloud.url)
    cloud.answers = {"/latest/api/token": lambda _: (404, "")}
    assert code_of(MachineIdentity(clock).key) == "denied"
    monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://127.0.0.1:1")
    assert code_of(MachineIdentity(clock).key) == "unavailable"


# ---- Google ----------------------------------------------------------------------------------------
def test_a_key_file_gets_a_token_by_a_signed_claim(cloud, clock):
    cloud.answers["/token"] = lambda _: (200, json.dumps({"access_token": "ya29", "expires_in": 3599}))
    identity = KeyFile(service_account(), clock, f"{cloud.url}/token")
    assert identity.token() == identity.token() == "ya29"
    assert len(cloud.seen) == 1
    assertion = parse_qs(cloud.seen[0]["body"])["assertion"][0]
    head, claims, signature = assertion.split(".")
    key = load_pem_private_key(json.loads(service_account())["private_key"].encode(), None)
    key.public_key().verify(_bytes(signature), f"{head}.{claims}".encode(), padding.PKCS1v15(), hashes.SHA256())
    said = json.loads(_bytes(claims))
    assert (said["iss"], said["aud"]) == ("remora@test.example", "https://oauth2.googleapis.com/token")


def test_the_token_address_of_a_key_file_counts_for_nothing(cloud, clock, monkeypatch):
    """Whoever wrote the file could lead us inside."""
    cloud.answers["/good"] = lambda _: (200, json.dumps({"access_token": "ya29", "expires_in": 3599}))
    given = {**json.loads(service_account()), "token_uri": f"{cloud.url}/evil"}
    assert KeyFile(json.dumps(given), clock, f"{cloud.url}/good").token() == "ya29"
    assert google_identity.TOKEN_URL.startswith("https://oauth2.googleapis.com/")


@pytest.mark.never_real(
    "Signing by Google's IAM without a key, and tokens of the metadata server",
    "small servers answer as Google documents it",
)
def test_a_machine_signs_by_iam(cloud, clock, monkeypatch):
    monkeypatch.setenv("GCE_METADATA_HOST", cloud.url.removeprefix("http://"))
    account = "/computeMetadata/v1/instance/service-accounts/default/"
    signed = base64.b64encode(b"\x01\x02").decode()
    cloud.answers = {
        f"{account}email": lambda _: (200, "me@p.iam.gserviceaccount.com"),
        f"{account}token": lambda _: (200, json.dumps({"access_token": "machine", "expires_in": 3000})),
        "/me@p.iam.gserviceaccount.com:signBlob": lambda _: (200, json.dumps({"signedBlob": signed})),
        "/me@p.iam.gserviceaccount.com:generateAccessToken": lambda _: (200, json.dumps({"accessToken": "narrow"})),
    }
    identity = MachineAccount(clock, iam_url=cloud.url)
    assert identity.sign("the text") == "0102"
    asked = cloud.seen[-1]
    assert asked["headers"]["Authorization"] == "Bearer machine"
    assert base64.b64decode(json.loads(asked["body"])["payload"]) == b"the text"
    assert identity.token() == "narrow"
    assert json.loads(cloud.seen[-1]["body"])["scope"] == [google_identity.SCOPE]


# ---- Azure -----------------------------------------------------------------------------------------
@pytest.mark.never_real(
    "User-delegation keys of Azure, managed and workload identities",
    "a small server answers as Microsoft documents it; azurite checks signatures by account key",
)
def test_a_delegation_key_signs_and_is_kept(cloud, clock):
    names = {"SignedOid": "oid", "SignedTid": "tid", "SignedStart": "s", "SignedExpiry": "e", "SignedService": "b"}
    shown = "".join(f"<{name}>{value}</{name}>" for name, value in {**names, "SignedVersion": "v"}.items())
    key = f"<UserDelegationKey>{shown}<Value>{base64.b64encode(b'key').decode()}</Value></UserDelegationKey>"
    cloud.answers = {
        "/tenant/oauth2/v2.0/token": lambda _: (200, json.dumps({"access_token": "entra", "expires_in": 3599})),
        "/": lambda asked: (200 if asked["headers"]["Authorization"] == "Bearer entra" else 403, key),
    }
    http = StoreHttp(Reach(parse_networks(["127.0.0.0/8"])))
    signer = DelegationKey(Application("tenant", "client", "secret", clock, cloud.url), cloud.url, http, clock)
    grant = Grant("r", datetime.now(UTC) + timedelta(minutes=15), "/blob/a/c/k", "b", "https")
    fields = signer.sign(grant)
    assert signer.sign(grant) == fields
    assert [asked["path"] for asked in cloud.seen] == ["/tenant/oauth2/v2.0/token", "/"]
    assert parse_qs(cloud.seen[0]["body"])["scope"] == ["https://storage.azure.com/.default"]
    assert (fields["skoid"], fields["sktid"], fields["skv"]) == ("oid", "tid", "v")
    lines = ["r", "", fields["se"], "/blob/a/c/k", "oid", "tid", "s", "e", "b", "v", "", "", ""]
    lines += ["", "https", fields["sv"], "b", "", "", "", "", "", "", ""]
    digest = hmac.new(b"key", "\n".join(lines).encode(), hashlib.sha256).digest()
    assert fields["sig"] == base64.b64encode(digest).decode()


# ---- Swift -----------------------------------------------------------------------------------------
def keystone(asked: dict[str, Any]) -> Answer:
    endpoints = [{"interface": "internal", "region": "one", "url": "http://inside"}]
    for region in ("one", "two"):
        endpoints.append({"interface": "public", "region": region, "url": f"http://{region}/v1/AUTH_p/"})
    token = {"expires_at": in_an_hour(), "catalog": [{"type": "object-store", "endpoints": endpoints}]}
    return 201, json.dumps({"token": token}), {"X-Subject-Token": "gAAAA"}


@pytest.mark.never_real(
    "Swift of a public OpenStack with Keystone",
    "a real Swift with its own login, and a small Keystone",
)
@pytest.mark.parametrize("path", ["/v3", "/v3/", "/v3/auth/tokens"])
def test_keystone_gives_token_and_address(cloud, clock, path):
    cloud.answers["/v3/auth/tokens"] = keystone
    http = StoreHttp(Reach(parse_networks(["127.0.0.0/8"])))
    login = Login(f"{cloud.url}{path}", username="u", password="p", project="proj", region="two")
    session = Tokens(login, http, clock).session()
    assert (session.token, session.storage_url) == ("gAAAA", "http://two/v1/AUTH_p")
    asked = json.loads(cloud.seen[0]["body"])["auth"]
    assert asked["identity"]["password"]["user"] == {"name": "u", "password": "p", "domain": {"name": "Default"}}
    assert asked["scope"]["project"]["name"] == "proj"


def test_an_application_credential_and_a_region_that_is_not_there(cloud, clock):
    cloud.answers["/v3/auth/tokens"] = keystone
    http = StoreHttp(Reach(parse_networks(["127.0.0.0/8"])))
    login = Login(f"{cloud.url}/v3", credential_id="id", credential_secret="s", region="three")
    assert code_of(Tokens(login, http, clock).session) == "denied"
    assert json.loads(cloud.seen[0]["body"])["auth"]["identity"]["methods"] == ["application_credential"]


def _bytes(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
