"""References to secrets: environment, files, and Secrets Manager through a role that is taken on."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from controlplane.clock import utc_now
from controlplane.data.stores.http import StoreHttp
from controlplane.environments.aws_secrets import AwsSecrets
from controlplane.environments.references import References, UnreadableError
from controlplane.net.reach import Reach
from fixtures.aws_cloud import EXTERNAL_ID, REGION, AwsCloud, aws_cloud
from infra.installation import AccessSpec

VALUE = {"password": "a-password-of-the-queue", "ca": "-----BEGIN CERTIFICATE-----", "join_secret.m6i": "of the group"}


class Moments:
    """Time of the memory only: AWS refuses requests that are signed at another time than its own."""

    def __init__(self) -> None:
        self.now = utc_now()

    def __call__(self):
        return self.now


@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AwsCloud]:
    with aws_cloud(tmp_path_factory.mktemp("aws"), ["queue", "empty"]) as cloud:
        cloud.set_secret("queue", json.dumps(VALUE))
        yield cloud


@pytest.fixture
def moments() -> Moments:
    return Moments()


@pytest.fixture
def references(moments: Moments, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> References:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    return References({"aws": AwsSecrets(StoreHttp(Reach.everywhere()), utc_now)}, tmp_path / "queues", moments)


@pytest.fixture
def aws(account: AwsCloud, references: References, monkeypatch: pytest.MonkeyPatch) -> AwsCloud:
    for name, value in account.environment().items():
        monkeypatch.setenv(name, value)
    return account


def access(role: str) -> AccessSpec:
    return AccessSpec(provider="aws", region=REGION, role=role, external_id=EXTERNAL_ID)


@pytest.mark.needs("moto")
class TestAws:
    pytestmark = pytest.mark.never_real(
        "Secrets Manager and the control plane's role of AWS",
        "moto checks signatures and policies; it ignores the external id",
    )

    def test_a_field_of_a_secret_is_read_by_the_role(self, aws: AwsCloud, references: References) -> None:
        place, role = f"aws:{aws.arns['queue']}", access(aws.master)
        assert references.value(f"{place}#password", role) == VALUE["password"]
        assert references.value(f"{place}#join_secret.m6i", role) == "of the group"
        assert json.loads(references.value(place, role)) == VALUE

    def test_a_certificate_becomes_a_private_file(self, aws: AwsCloud, references: References) -> None:
        path = Path(references.file(f"aws:{aws.arns['queue']}#ca", access(aws.master)))
        assert path.read_text() == VALUE["ca"]
        assert path.stat().st_mode & 0o777 == 0o600
        assert path.parent.stat().st_mode & 0o777 == 0o700
        assert references.file("/etc/remora/ca.pem") == "/etc/remora/ca.pem", "a path is a path"

    def test_a_field_that_is_not_there(self, aws: AwsCloud, references: References) -> None:
        with pytest.raises(UnreadableError, match="has no field key"):
            references.value(f"aws:{aws.arns['queue']}#key", access(aws.master))

    def test_a_secret_without_a_value_names_the_queues_machine(self, aws: AwsCloud, references: References) -> None:
        with pytest.raises(UnreadableError, match="empty yet: the queue's machine fills it at its first boot") as error:
            references.value(f"aws:{aws.arns['empty']}#password", access(aws.master))
        assert error.value.passing

    def test_a_role_without_the_right_names_it(self, aws: AwsCloud, references: References) -> None:
        with pytest.raises(UnreadableError, match="allow the role secretsmanager:GetSecretValue") as error:
            references.value(f"aws:{aws.arns['queue']}", access(aws.stranger))
        assert not error.value.passing

    def test_a_wrong_key_of_the_control_plane(
        self, aws: AwsCloud, references: References, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
        with pytest.raises(UnreadableError, match="trust policy of .*role/master must name this control plane"):
            references.value(f"aws:{aws.arns['queue']}", access(aws.master))

    def test_a_changed_value_counts_after_five_minutes(
        self, aws: AwsCloud, references: References, moments: Moments
    ) -> None:
        place, role = f"aws:{aws.arns['queue']}#password", access(aws.master)
        references.value(place, role)
        aws.set_secret("queue", json.dumps({**VALUE, "password": "the-next-password"}))
        try:
            moments.now += timedelta(minutes=4)
            assert references.value(place, role) == VALUE["password"]
            moments.now += timedelta(minutes=2)
            assert references.value(place, role) == "the-next-password"
        finally:
            aws.set_secret("queue", json.dumps(VALUE))

    def test_what_was_read_stays_in_use_while_the_secret_store_is_away(
        self, aws: AwsCloud, references: References, moments: Moments, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        place, role = f"aws:{aws.arns['queue']}#password", access(aws.master)
        references.value(place, role)
        monkeypatch.setenv("AWS_ENDPOINT_URL_SECRETSMANAGER", "http://127.0.0.1:1")
        moments.now += timedelta(hours=1)
        assert references.value(place, role) == VALUE["password"]

    def test_nothing_was_read_and_the_secret_store_is_away(
        self, aws: AwsCloud, references: References, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AWS_ENDPOINT_URL_SECRETSMANAGER", "http://127.0.0.1:1")
        with pytest.raises(UnreadableError, match="can't be read") as error:
            references.value(f"aws:{aws.arns['queue']}", access(aws.master))
        assert error.value.passing


@pytest.mark.parametrize(
    "name",
    [
        "queue",
        "arn:aws:secretsmanager:evil.example/:123456789012:secret:x",
        "arn:aws:secretsmanager:eu-west-1:123456789012:secret:x y",
        "arn:aws:s3:::bucket",
    ],
)
def test_only_an_arn_of_a_secret_is_asked_for(references: References, name: str) -> None:
    with pytest.raises(UnreadableError, match="is no ARN of a secret"):
        references.value(f"aws:{name}")


def test_environment_and_files(references: References, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "secret").write_text("of the file\n")
    monkeypatch.setenv("OF_THE_TEST", "of the environment")
    assert references.value(f"file:{tmp_path}/secret") == "of the file"
    assert references.value("env:OF_THE_TEST") == "of the environment"
    with pytest.raises(UnreadableError, match="nowhere can't be read \\(No such file"):
        references.value("file:/nowhere")
    with pytest.raises(UnreadableError, match="env:NOT_SET gives nothing"):
        references.value("env:NOT_SET")
    with pytest.raises(UnreadableError, match="kind 'gcp' can't be read here; use one of env:NAME"):
        references.value("gcp:projects/1/secrets/x")
