"""Credentials of an installation's stores: sealed, never in what may be shown."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from controlplane.clock import utc_now
from controlplane.environments.importing import Importer
from controlplane.environments.models import Store
from controlplane.environments.references import References
from controlplane.errors import ValidationError
from controlplane.security.vault import Vault
from infra.installation import StoreSpec

SECRET = "a-secret-of-this-test-only"


def imported(text: str, kind: str = "s3") -> tuple[Store, Vault]:
    vault, row = Vault(bytes(range(32))), Store(id="store", config={"location": "s3://b"}, secrets="")
    spec = StoreSpec.model_validate(
        {"name": "data", "purpose": "data", "kind": kind, "location": "s3://b", "credentials": "file:/srv/credentials"}
    )
    Importer(vault, References({}, Path("/no/such"), utc_now), utc_now)._credentials(
        row, spec, text, "stores.0.credentials"
    )
    return row, vault


def test_the_secret_is_sealed_and_the_key_is_shown() -> None:
    row, vault = imported(f"remora\n{SECRET}\n")
    assert row.config == {"location": "s3://b", "access_key_id": "remora"}
    assert SECRET not in row.secrets
    assert json.loads(vault.decrypt(row.secrets, "store:store")) == {"secret_access_key": SECRET}


@pytest.mark.parametrize(("text", "kind"), [("one-line-of-some-length", "s3"), (f"remora\n{SECRET}", "gcs")])
def test_what_are_no_two_lines_of_an_s3_is_refused(text: str, kind: str) -> None:
    with pytest.raises(ValidationError, match="two lines, access key and secret, of an S3 are expected"):
        imported(text, kind)
