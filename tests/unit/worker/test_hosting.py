"""An own queue and store on a machine: authority, certificates, the fence's rules."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from worker_bootstrap.__main__ import main
from worker_bootstrap.hosting.authority import Authority, is_for, request_for
from worker_bootstrap.hosting.files import kept_secret, write_private
from worker_bootstrap.hosting.master import MasterHost, MasterRequest
from worker_bootstrap.hosting.texts import (
    EVERYWHERE,
    bind,
    fence,
    master_environment,
    master_unit,
    redis_config,
    store_unit,
    unit,
)
from worker_bootstrap.protocol.errors import ProtocolError


def usages(certificate: x509.Certificate) -> list[x509.ObjectIdentifier]:
    return list(certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)


def test_an_authority_is_made_once_and_its_key_is_its_own(tmp_path: Path) -> None:
    first = Authority(tmp_path, "of the test")
    assert Authority(tmp_path, "another name").pem == first.pem
    assert (tmp_path / "ca.key").stat().st_mode & 0o777 == 0o600
    ca = x509.load_pem_x509_certificate(first.pem.encode())
    for made, usage in (
        (first.server(["10.0.0.1", "queue.lab"]), ExtendedKeyUsageOID.SERVER_AUTH),
        (first.client("master"), ExtendedKeyUsageOID.CLIENT_AUTH),
    ):
        certificate = x509.load_pem_x509_certificate(made.certificate.encode())
        certificate.verify_directly_issued_by(ca)
        assert usages(certificate) == [usage]
        assert certificate.not_valid_after_utc > datetime.now(UTC) + timedelta(days=3000)


def test_a_request_gets_the_names_that_the_installer_says(tmp_path: Path) -> None:
    authority = Authority(tmp_path, "of the test")
    request = request_for(tmp_path / "server.key", "whatever.it.asks")
    assert request_for(tmp_path / "server.key", "whatever.it.asks") != ""
    text = authority.sign(request, ["10.0.0.1"])
    (tmp_path / "server.pem").write_text(text)
    assert is_for(tmp_path / "server.pem", ["10.0.0.1"])
    assert not is_for(tmp_path / "server.pem", ["10.0.0.2"])
    assert not is_for(tmp_path / "none.pem", ["10.0.0.1"])
    certificate = x509.load_pem_x509_certificate(text.encode())
    asked = x509.load_pem_x509_csr(request.encode()).public_key()
    held = certificate.public_key()
    assert isinstance(asked, ec.EllipticCurvePublicKey) and isinstance(held, ec.EllipticCurvePublicKey)
    assert held.public_numbers() == asked.public_numbers()
    with pytest.raises(ProtocolError, match="no certificate request"):
        authority.sign("-----BEGIN", ["10.0.0.1"])


def test_a_secret_is_made_once(tmp_path: Path) -> None:
    first = kept_secret(tmp_path / "secret")
    assert len(first) > 40 and kept_secret(tmp_path / "secret") == first
    assert (tmp_path / "secret").stat().st_mode & 0o777 == 0o600
    assert not write_private(tmp_path / "secret", first)
    assert write_private(tmp_path / "secret", "another")


def test_the_fence_names_networks_and_nothing_else(tmp_path: Path) -> None:
    text = fence(7379, ["10.0.0.2/32", "10.0.0.1/32", "fd00::/8", "10.0.0.1/32"])
    assert "put_up iptables 10.0.0.1/32 10.0.0.2/32 ||" in text
    assert "put_up ip6tables fd00::/8\n" in text
    done = subprocess.run(["sh", "-n"], input=text, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    with pytest.raises(ValueError, match="does not appear to be an IPv4 or IPv6 network"):
        fence(7379, ["10.0.0.1/32; reboot"])


@pytest.mark.security("I07")
def test_redis_has_no_plain_port_and_listens_where_it_may() -> None:
    text = redis_config(Path("/etc/q"), Path("/var/q"), 7379, bind("127.0.0.1"), 1000)
    assert "\nport 0\n" in text and "\ntls-auth-clients yes\n" in text and "\nbind 127.0.0.1\n" in text
    assert bind("queue.example.test") == bind("203.0.113.9") == EVERYWHERE


def test_the_units_run_as_their_own_users() -> None:
    queue = unit("remora-queue", "/usr/bin/redis-server", Path("/etc/q"), Path("/var/q"), Path("/opt/q/fence"))
    store = store_unit("remora-store", Path("/opt/s/versitygw"), Path("/etc/s"), Path("/srv/s"))
    assert "User=remora-queue\n" in queue and "ExecStopPost=+/opt/q/fence down\n" in queue
    assert "User=remora-store\n" in store and "secret" not in store.lower()


def test_the_control_planes_unit_may_open_a_low_port_and_nothing_more() -> None:
    places = (Path("/opt/s/current"), Path("/etc/s"), Path("/var/s"))
    low, high = (master_unit("remora-server", *places, port) for port in (443, 8443))
    assert "\nCapabilityBoundingSet=CAP_NET_BIND_SERVICE\n" in low and "\nCapabilityBoundingSet=\n" in high
    assert "\nExecStart=/opt/s/current/bin/remora server run\n" in low and "\nRestart=always\n" in low


def test_systemd_and_a_shell_read_the_same_settings(tmp_path: Path) -> None:
    url = 'postgresql://remora:p$HOME`id`%40"w@db/remora'
    text = master_environment(tmp_path, Path("/var/s"), "https://remora.lab", 443, url)
    (tmp_path / "environment").write_text(text)
    script = f'. {tmp_path}/environment; printf %s "$REMORA_DATABASE_URL"'
    assert subprocess.run(["sh", "-euc", script], capture_output=True, text=True, check=True).stdout == url
    for wrong in ("postgresql://a'b@c/d", "postgresql://a\nb"):
        with pytest.raises(ValueError, match="REMORA_DATABASE_URL may hold no quote"):
            master_environment(tmp_path, Path("/var/s"), "https://remora.lab", 443, wrong)


def test_a_certificate_of_the_same_authority_stays(tmp_path: Path) -> None:
    host = MasterHost(tmp_path, tmp_path, tmp_path)
    authority = Authority(tmp_path, "of the test")

    def asked(name: str, ca: str = authority.pem) -> MasterRequest:
        return MasterRequest(f"https://{name}", 443, authority.server([name]).certificate, "{}", ca)

    first = host.certificate_for(asked("remora.lab"))
    (tmp_path / "server.pem").write_text(first)
    assert first.endswith(authority.pem) and host.certificate_for(asked("remora.lab")) == first
    assert host.certificate_for(asked("other.lab")) != first
    given = MasterRequest("https://remora.lab", 443, "of somebody else", "{}")
    assert host.certificate_for(given) == "of somebody else"


def test_an_agent_whose_executions_run_is_not_taken_off(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home, root, units = (tmp_path / name for name in ("home", "root", "units"))
    job = home / "work" / "attempt" / "job.json"
    for folder in (job.parent, root, units):
        folder.mkdir(parents=True)
    job.write_text("{}")
    assert main(["uninstall", "--home", str(home), "--root", str(root), "--units", str(units)]) == 1
    said = capsys.readouterr().err
    assert said == "remora-agent: 1 executions run here: drain the machine first, or say --yes to end them.\n"
    assert job.exists() and root.exists()
