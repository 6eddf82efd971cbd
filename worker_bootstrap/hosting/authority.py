"""The certificate authority of an installation: made on the queue's machine, its key never leaves it."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from worker_bootstrap.hosting.files import write_private
from worker_bootstrap.protocol.errors import ProtocolError

# Nobody is told when a certificate ends: it lasts as long as its authority. Who leaves loses the login of the queue.
VALID = timedelta(days=3650)
EARLIER = timedelta(hours=1)


@dataclass(frozen=True)
class Pair:
    """PEM texts of a certificate and its key."""

    certificate: str
    key: str = field(repr=False)


class Authority:
    """FOLDER/ca.pem and FOLDER/ca.key (0600), made at the first use. Raises OSError."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        if not (folder / "ca.key").exists():
            self._make(name)
        self._key = serialization.load_pem_private_key((folder / "ca.key").read_bytes(), password=None)
        self.pem = (folder / "ca.pem").read_text()
        self._subject = x509.load_pem_x509_certificate(self.pem.encode()).subject

    def server(self, names: Sequence[str]) -> Pair:
        """A server's certificate for these names and addresses."""
        key = ec.generate_private_key(ec.SECP256R1())
        return Pair(self._sign(key.public_key(), names[0], ExtendedKeyUsageOID.SERVER_AUTH, names), _pem(key))

    def client(self, name: str) -> Pair:
        """A client's certificate."""
        key = ec.generate_private_key(ec.SECP256R1())
        return Pair(self._sign(key.public_key(), name, ExtendedKeyUsageOID.CLIENT_AUTH, ()), _pem(key))

    def sign(self, request: str, names: Sequence[str]) -> str:
        """A server's certificate for the key of a request; whatever else the request asks is left out.

        Raises ProtocolError for what is no request.
        """
        try:
            asked = x509.load_pem_x509_csr(request.encode())
        except ValueError as error:
            raise ProtocolError("no certificate request (PEM) was given") from error
        if not asked.is_signature_valid:
            raise ProtocolError("the certificate request is not signed by its own key")
        public = asked.public_key()
        if not isinstance(public, ec.EllipticCurvePublicKey):
            raise ProtocolError("the certificate request has no key on an elliptic curve")
        return self._sign(public, names[0], ExtendedKeyUsageOID.SERVER_AUTH, names)

    def _make(self, name: str) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
        builder = (
            _builder(subject, subject, key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        )
        made = builder.sign(key, hashes.SHA256())
        write_private(self._folder / "ca.pem", _text(made), 0o644)
        # The key comes last: where it stands, both do.
        write_private(self._folder / "ca.key", _pem(key))

    def _sign(
        self, public: ec.EllipticCurvePublicKey, name: str, usage: x509.ObjectIdentifier, names: Sequence[str]
    ) -> str:
        assert isinstance(self._key, ec.EllipticCurvePrivateKey)
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:64])])
        own = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        builder = (
            _builder(subject, self._subject, public)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
            .add_extension(own, critical=False)
        )
        if names:
            alternatives = x509.SubjectAlternativeName([_general(one) for one in names])
            builder = builder.add_extension(alternatives, critical=False)
        return _text(builder.sign(self._key, hashes.SHA256()))


def request_for(key_file: Path, name: str) -> str:
    """A certificate request (PEM) of the key in this file, which is made at the first call. Raises OSError."""
    if not key_file.exists():
        write_private(key_file, _pem(ec.generate_private_key(ec.SECP256R1())))
    key = serialization.load_pem_private_key(key_file.read_bytes(), password=None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:64])])
    made = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    return made.public_bytes(serialization.Encoding.PEM).decode()


def is_for(certificate: Path, names: Sequence[str]) -> bool:
    """Whether this file holds a certificate for exactly these names."""
    if not certificate.exists():
        return False
    held = x509.load_pem_x509_certificate(certificate.read_bytes())
    found = held.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return {str(one.value) for one in found} == set(names)


def _builder(subject: x509.Name, issuer: x509.Name, public: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - EARLIER)
        .not_valid_after(now + VALID)
    )


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _text(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def _pem(key: ec.EllipticCurvePrivateKey) -> str:
    encoding, kind = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    return key.private_bytes(encoding, kind, serialization.NoEncryption()).decode()
