"""Logins of the clouds' registries, by the exchange that each of them documents."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from controlplane.clock import utc_now
from controlplane.data.stores.aws_identity import AwsKey, GivenKey
from controlplane.net.fetching import Caps, Fetcher
from controlplane.net.reach import Reach
from controlplane.registries.aws import AwsLogins
from controlplane.registries.azure import AzureLogins
from controlplane.registries.google import GoogleAddresses, GoogleLogins
from controlplane.registries.kinds import KINDS
from controlplane.registries.login import Login, LoginError, Opened
from controlplane.registries.logins import LoginMemory, Logins
from fixtures.aws_server import AwsServer, aws_server
from fixtures.web import FakeClock
from worker_bootstrap.protocol.reach import parse_networks

ORGANIZATION = "0198c0de-0000-7000-8000-000000000001"
ECR = "123456789012.dkr.ecr.eu-west-1.amazonaws.com"
REACH = Reach(tuple(parse_networks(["127.0.0.0/8"])))


def opened(kind: str, pattern: str, **configuration: str) -> Opened:
    return Opened("1", 1, ORGANIZATION, kind, KINDS[kind].pattern(pattern), False, configuration)


# ---- AWS -------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AwsServer]:
    with aws_server(tmp_path_factory.mktemp("aws"), ORGANIZATION) as running:
        yield running


@pytest.fixture
def ecr(aws: AwsServer, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Login]:
    """A login by a user's key, or by a role that the server's own user takes on."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_ECR", aws.url)
    machine = GivenKey(AwsKey("AKIAEXAMPLE", "secret"))

    def login(key: tuple[str, str] | None = None, host: str = ECR, **configuration: str) -> Login:
        if key:
            configuration |= {"access_key_id": key[0], "secret_access_key": key[1]}
        kind = "aws-ecr" if key else "aws-ecr-role"
        return AwsLogins(utc_now, machine).login(opened(kind, f"{ECR}/*", **configuration), host)

    return login


@pytest.mark.needs("moto")
class TestAws:
    @pytest.mark.never_real("Logins of AWS ECR", "moto checks signatures and policies, and gives a token of its own")
    def test_a_key_gets_a_token(self, aws: AwsServer, ecr: Callable[..., Login]) -> None:
        found = ecr(aws.keys["puller"])
        assert (found.username, found.password) == ("AWS", "123456789012-auth-token")
        assert found.expires == datetime(2015, 1, 1, tzinfo=UTC), "what moto says of every token"
        assert "auth-token" not in repr(found)

    @pytest.mark.parametrize("role", ["puller", "arn:aws:iam::123456789012:role/puller"])
    def test_a_role_gets_a_token(
        self, aws: AwsServer, ecr: Callable[..., Login], tokens: TokenServer, monkeypatch: pytest.MonkeyPatch, role: str
    ) -> None:
        # moto would not look at the external id, so that what is asked is looked at here; the keys are moto's.
        answer = "".join(f"<{name}>{value}</{name}>" for name, value in aws.assumed.items())
        forms: list[Any] = []

        def assume(form: Any, headers: Any) -> tuple[int, str]:
            forms.append(form)
            return 200, f"<AssumeRoleResponse>{answer}</AssumeRoleResponse>"

        tokens.answers["/"] = assume
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", tokens.url)
        assert ecr(role_name=role).username == "AWS"
        assert forms[0]["RoleArn"] == "arn:aws:iam::123456789012:role/puller"
        assert forms[0]["ExternalId"] == ORGANIZATION

    def test_a_wrong_secret(self, aws: AwsServer, ecr: Callable[..., Login]) -> None:
        with pytest.raises(LoginError, match="not that of this access key id: type it again") as error:
            ecr((aws.keys["puller"][0], "wrong"))
        assert error.value.is_refused

    def test_an_unknown_key(self, ecr: Callable[..., Login]) -> None:
        with pytest.raises(LoginError, match="not known or not active") as error:
            ecr(("AKIA" + "X" * 16, "wrong"))
        assert error.value.is_refused

    def test_a_key_without_the_right(self, aws: AwsServer, ecr: Callable[..., Login]) -> None:
        with pytest.raises(LoginError, match="Allow it `ecr:GetAuthorizationToken`"):
            ecr(aws.keys["nobody"])

    def test_nobody_answers(self, aws: AwsServer, ecr: Callable[..., Login], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AWS_ENDPOINT_URL_ECR", "http://127.0.0.1:1")
        with pytest.raises(LoginError, match="does not answer") as error:
            ecr(aws.keys["puller"])
        assert not error.value.is_refused


# ---- strict token servers --------------------------------------------------------------------------
@dataclass
class TokenServer:
    """Answers each path by a function of the form and the headers that were sent."""

    answers: dict[str, Callable[[dict[str, str], Any], tuple[int, dict[str, Any] | str]]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    url: str = ""


@pytest.fixture
def tokens() -> Iterator[TokenServer]:
    found = TokenServer()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            found.asked.append(f"{self.command} {self.path}")
            raw = self.rfile.read(int(self.headers.get("Content-Length", "0"))).decode()
            is_json = self.headers.get("Content-Type", "").startswith("application/json")
            form = json.loads(raw) if is_json else {name: values[0] for name, values in parse_qs(raw).items()}
            status, body = found.answers[self.path.partition("?")[0]](form, self.headers)
            data = (body if isinstance(body, str) else json.dumps(body)).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST  # noqa: N815

        def log_message(self, format: str, *args: Any) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    found.url = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    yield found
    server.shutdown()
    server.server_close()


@pytest.mark.never_real(
    "Roles for AWS ECR with an external id", "what is asked of STS is looked at; moto ignores conditions"
)
def test_a_role_that_the_server_may_not_take_on(tokens: TokenServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", tokens.url)
    said = "User: server is not authorized to perform: sts:AssumeRole"
    tokens.answers["/"] = lambda form, headers: (
        403,
        f"<Error><Code>AccessDenied</Code><Message>{said}</Message></Error>",
    )
    logins = AwsLogins(utc_now, GivenKey(AwsKey("AKIAEXAMPLE", "secret")))
    with pytest.raises(
        LoginError, match=f"{said}. Its trust policy must name this server and the external id"
    ) as error:
        logins.login(opened("aws-ecr-role", f"{ECR}/*", role_name="puller"), ECR)
    assert error.value.is_refused


# ---- Google ----------------------------------------------------------------------------------------
EMAIL = "puller@project.iam.gserviceaccount.com"
KEY = rsa.generate_private_key(65537, 2048)
PEM = KEY.private_bytes(
    serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
).decode()


def unpacked(part: str) -> Any:
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))


def google_token(form: dict[str, str], _headers: Any) -> tuple[int, dict[str, Any]]:
    """RFC 7523, as developers.google.com/identity/protocols/oauth2/service-account has it."""
    assert set(form) == {"grant_type", "assertion"}
    assert form["grant_type"] == "urn:ietf:params:oauth:grant-type:jwt-bearer"
    head, claims, signature = form["assertion"].split(".")
    signed = base64.urlsafe_b64decode(signature + "=" * (-len(signature) % 4))
    KEY.public_key().verify(signed, f"{head}.{claims}".encode(), padding.PKCS1v15(), hashes.SHA256())
    said = unpacked(claims)
    assert unpacked(head) == {"alg": "RS256", "typ": "JWT"}
    assert set(said) == {"iss", "scope", "aud", "iat", "exp"}
    assert said["scope"] == "https://www.googleapis.com/auth/cloud-platform"
    assert said["aud"] == "https://oauth2.googleapis.com/token" and said["exp"] - said["iat"] <= 3600
    if said["iss"] != EMAIL:
        return 400, {"error": "invalid_grant", "error_description": "Invalid grant: account not found"}
    return 200, {"access_token": "ya29.token", "expires_in": 3599, "token_type": "Bearer"}


def service_account(email: str) -> str:
    # Its own token address is that of whoever made the file: it is never asked.
    key = {"type": "service_account", "client_email": email, "private_key": PEM, "token_uri": "http://127.0.0.1:1/x"}
    return json.dumps(key)


@pytest.mark.never_real("Logins of Google Artifact Registry", "a strict server checks the documented exchange")
def test_google_by_a_key(tokens: TokenServer, clock: FakeClock) -> None:
    tokens.answers["/token"] = google_token
    logins = GoogleLogins(clock, GoogleAddresses(token=f"{tokens.url}/token"))
    found = logins.login(opened("gcp-cr", "europe-docker.pkg.dev/*", service_account_json=service_account(EMAIL)))
    assert (found.username, found.password) == ("oauth2accesstoken", "ya29.token")
    assert found.expires == clock.now + timedelta(seconds=3599)
    with pytest.raises(LoginError, match="Google refuses: Invalid grant: account not found") as error:
        logins.login(opened("gcp-cr", "gcr.io/*", service_account_json=service_account("gone@x")))
    assert error.value.is_refused
    with pytest.raises(LoginError, match="paste the whole file"):
        logins.login(opened("gcp-cr", "gcr.io/*", service_account_json='{"type": "other"}'))


@pytest.mark.never_real("Workload identity for Google Artifact Registry", "a strict server checks both calls")
def test_google_by_the_servers_own_identity(
    tokens: TokenServer, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def own(_form: dict[str, str], headers: Any) -> tuple[int, dict[str, Any]]:
        assert headers["Metadata-Flavor"] == "Google"
        return 200, {"access_token": "the-machines", "expires_in": 3599}

    def speak_for(form: dict[str, Any], headers: Any) -> tuple[int, dict[str, Any]]:
        assert headers["Authorization"] == "Bearer the-machines"
        assert form == {"scope": ["https://www.googleapis.com/auth/cloud-platform"]}
        return 200, {"accessToken": "ya29.other", "expireTime": "2026-03-01T13:00:00Z"}

    monkeypatch.setenv("GCE_METADATA_HOST", tokens.url.removeprefix("http://"))
    tokens.answers["/computeMetadata/v1/instance/service-accounts/default/token"] = own
    tokens.answers["/accounts/puller%40p.iam.gserviceaccount.com:generateAccessToken"] = speak_for
    logins = GoogleLogins(clock, GoogleAddresses(iam=f"{tokens.url}/accounts"))
    found = logins.login(opened("gcp-cr", "gcr.io/*", workload_identity="puller@p.iam.gserviceaccount.com"))
    assert found == Login("oauth2accesstoken", "ya29.other", datetime(2026, 3, 1, 13, tzinfo=UTC))


# ---- Azure -----------------------------------------------------------------------------------------
APPLICATION = "11111111-2222-3333-4444-555555555555"
AZURE = {"tenant_id": "contoso.example", "client_id": APPLICATION, "client_secret": "right"}
ACR = "myregistry.azurecr.io"


def azure_directory(form: dict[str, str], _headers: Any) -> tuple[int, dict[str, Any]]:
    """The client credentials grant of Entra ID v2.0."""
    assert set(form) == {"grant_type", "client_id", "client_secret", "scope"}
    assert form["grant_type"] == "client_credentials" and form["client_id"] == APPLICATION
    assert form["scope"] == "https://containerregistry.azure.net/.default"
    if form["client_secret"] != "right":
        return 401, {"error": "invalid_client", "error_description": "AADSTS7000215: Invalid client secret provided."}
    return 200, {"access_token": "directory-token", "expires_in": 3599, "token_type": "Bearer"}


def jwt(**claims: Any) -> str:
    return f"h.{base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip('=')}.s"


def azure_exchange(form: dict[str, str], _headers: Any) -> tuple[int, dict[str, Any]]:
    """POST /oauth2/exchange, as github.com/Azure/acr/blob/main/docs/AAD-OAuth.md has it."""
    assert form == {
        "grant_type": "access_token",
        "service": ACR,
        "tenant": "contoso.example",
        "access_token": "directory-token",
    }
    return 200, {"refresh_token": jwt(exp=datetime(2026, 3, 1, 15, tzinfo=UTC).timestamp())}


def azure(tokens: TokenServer, clock: FakeClock) -> AzureLogins:
    where = tokens.url
    return AzureLogins(clock, Fetcher(REACH), Caps(5.0, 100_000), {"io": where}.__getitem__, lambda host: where)


@pytest.mark.never_real("Logins of Azure Container Registry", "strict servers check the documented exchange")
def test_azure_by_an_application(tokens: TokenServer, clock: FakeClock) -> None:
    tokens.answers["/contoso.example/oauth2/v2.0/token"] = azure_directory
    tokens.answers["/oauth2/exchange"] = azure_exchange
    found = azure(tokens, clock).login(opened("azure-acr", f"{ACR}/*", **AZURE), ACR)
    assert found.username == "00000000-0000-0000-0000-000000000000"
    assert found.expires == datetime(2026, 3, 1, 15, tzinfo=UTC)
    with pytest.raises(LoginError, match="AADSTS7000215") as error:
        azure(tokens, clock).login(opened("azure-acr", f"{ACR}/*", **AZURE | {"client_secret": "old"}), ACR)
    assert error.value.is_refused and "whether its secret has ended" in str(error.value)
    denied = {"errors": [{"code": "UNAUTHORIZED", "message": "authentication required"}]}
    tokens.answers["/oauth2/exchange"] = lambda form, headers: (401, denied)
    with pytest.raises(LoginError, match="the role AcrPull on this registry"):
        azure(tokens, clock).login(opened("azure-acr", f"{ACR}/*", **AZURE), ACR)


def test_azure_by_user_and_password(tokens: TokenServer, clock: FakeClock) -> None:
    found = azure(tokens, clock).login(opened("azure-acr", f"{ACR}/*", username="u", password="p"), ACR)
    assert found == Login("u", "p") and tokens.asked == []


def test_an_answer_of_another_form_is_no_defect(tokens: TokenServer, clock: FakeClock) -> None:
    tokens.answers["/contoso.example/oauth2/v2.0/token"] = lambda form, headers: (200, {"token": 1})
    logins = Logins(AwsLogins(clock), GoogleLogins(clock), azure(tokens, clock))
    with pytest.raises(LoginError, match="in a form that is not known here") as error:
        logins.login(opened("azure-acr", f"{ACR}/*", **AZURE), ACR)
    assert not error.value.is_refused


# ---- what is remembered ----------------------------------------------------------------------------
class Counting:
    """A source whose logins live for an hour; it can fail, and be slow."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.count = 0
        self.error: LoginError | None = None
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self, opened: Opened, host: str) -> Login:
        self.gate.wait(10)
        self.count += 1
        if self.error:
            raise self.error
        return Login("u", f"token-{self.count}", self.clock.now + timedelta(hours=1))


def entry(number: int = 1, version: int = 1, organization: str = "o") -> Opened:
    return Opened(str(number), version, organization, "docker", KINDS["docker"].pattern("reg.example/*"), False, {})


def test_a_token_is_shared_and_renewed_before_it_ends(clock: FakeClock) -> None:
    source = Counting(clock)
    memory = LoginMemory(source, clock, margin=600)

    def token(version: int = 1) -> str:
        found = memory.get(entry(version=version), "reg.example", 5)
        assert found is not None and found.expires is not None
        assert found.expires - clock.now >= timedelta(seconds=600)
        return found.password

    assert [token(), token()] == ["token-1", "token-1"]
    clock.forward(2999)
    assert token() == "token-1"
    clock.forward(2)
    assert token() == "token-2"
    assert token(version=2) == "token-3", "another password, another token"


def test_short_lives_are_used_by_half(clock: FakeClock) -> None:
    source = Counting(clock)
    memory = LoginMemory(source, clock, margin=36_000)
    assert memory.get(entry(), "reg.example", 5) == memory.get(entry(), "reg.example", 5)
    clock.forward(1801)
    memory.get(entry(), "reg.example", 5)
    assert source.count == 2


def test_who_asks_does_not_wait_for_a_slow_service(clock: FakeClock) -> None:
    source = Counting(clock)
    source.gate.clear()
    memory = LoginMemory(source, clock, margin=600)
    assert memory.get(entry(), "reg.example", 0.01) is None
    assert memory.get(entry(), "reg.example", 0.01) is None
    source.gate.set()
    assert memory.get(entry(), "reg.example", 5) is not None
    assert source.count == 1, "asked once, however often it was asked for"


def test_one_organisation_does_not_hold_up_the_others(clock: FakeClock) -> None:
    source = Counting(clock)
    source.gate.clear()
    memory = LoginMemory(source, clock, margin=600)
    for number in range(50):
        assert memory.get(entry(number, organization="slow"), "reg.example", 0) is None
    assert memory.get(entry(99, organization="other"), "reg.example", 0) is None
    source.gate.set()
    assert memory.get(entry(99, organization="other"), "reg.example", 5) is not None
    until = time.monotonic() + 5
    while source.count < 3 and time.monotonic() < until:
        time.sleep(0.01)
    assert source.count == 3, "two of the first one, and the other's"


def test_a_failure_is_said_again_for_a_while_and_then_tried(clock: FakeClock) -> None:
    source = Counting(clock)
    source.error = LoginError("No.", is_refused=True)
    memory = LoginMemory(source, clock, margin=600)
    for _ in range(3):
        with pytest.raises(LoginError, match="No."):
            memory.get(entry(), "reg.example", 5)
    assert source.count == 1
    source.error = None
    clock.forward(21)
    assert memory.get(entry(), "reg.example", 5) is not None
