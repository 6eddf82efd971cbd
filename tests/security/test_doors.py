"""What is open from the start: addresses that are listened on, keys, and addresses that a person may name."""

from __future__ import annotations

from typing import Any

import pytest

from controlplane.processes.web import check_bind
from controlplane.security.vault import Vault, VaultError
from controlplane.settings import Settings
from controlplane.web.services import build_services
from fixtures.web import World
from security.test_ssrf import INSIDE, ODD


@pytest.mark.security("N05", "I07")
@pytest.mark.parametrize("bind", ["0.0.0.0", "::", "10.0.0.1", "remora.example"])
def test_beyond_the_loopback_nothing_is_served_without_tls(settings: Settings, bind: str) -> None:
    with pytest.raises(Exception, match="without TLS") as refused:
        check_bind(settings.model_copy(update={"bind": bind}))
    assert "REMORA_TLS_CERTIFICATE" in str(refused.value)
    check_bind(settings.model_copy(update={"bind": bind, "allow_plain_http": True}))
    check_bind(settings)


@pytest.mark.security("N08")
@pytest.mark.parametrize("key", [b"", b"short", b"\0" * 32, b"changeme" * 4, b"x" * 64])
def test_without_a_good_key_nothing_starts(settings: Settings, key: bytes) -> None:
    (settings.keys_dir / "secret.key").write_bytes(key)
    with pytest.raises(VaultError, match="32 random bytes"):
        build_services(settings)
    with pytest.raises(VaultError):
        Vault(key)


@pytest.mark.security("N30", "N33")
@pytest.mark.parametrize("host", [*INSIDE, *ODD])
def test_a_stores_address_leads_to_no_network_inside(world: World, host: str) -> None:
    """Refused when it is written, or when it is tried; nothing is connected to."""
    ann = world.client("ann")
    configuration = {
        "bucket": "bucket", "endpoint_url": f"http://{host}:1", "access_key_id": "A", "secret_access_key": "S",
    }  # fmt: skip
    body = {"name": "s", "type": "s3", "configuration": configuration, "project": world.project}
    made = ann.post("/api/v0/stores/", json=body)
    if made.status_code == 400:
        assert list(made.json) == ["configuration.endpoint_url"]
        return
    tried = ann.post(f"/api/v0/stores/{made.json['id']}/test/").json
    assert not tried["ok"] and "no address that may be used" in tried["steps"][0]["sentence"], tried


@pytest.mark.security("N33")
@pytest.mark.parametrize("address", ["file:///etc", "gopher://a.example", "ftp://a.example", "jar:http://a!/b", "//a"])
def test_a_store_is_reached_by_http_only(world: World, address: str) -> None:
    bodies: list[tuple[str, dict[str, Any]]] = [
        ("s3", {"bucket": "bucket", "endpoint_url": address}),
        ("swift", {"auth_url": address, "container": "c", "temp_url_key": "k" * 16}),
    ]
    for kind, configuration in bodies:
        body = {"name": "s", "type": kind, "configuration": configuration, "project": world.project}
        refused = world.client("ann").post("/api/v0/stores/", json=body)
        assert refused.status_code == 400 and next(iter(refused.json)).startswith("configuration."), refused.text
