"""Signatures against the vendors' own published examples."""

import json
from datetime import UTC, datetime
from urllib.parse import parse_qsl, urlsplit

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from controlplane.data.stores.aws_identity import AwsKey, GivenKey
from controlplane.data.stores.azure_identity import AccountKey, Grant
from controlplane.data.stores.gcs import GcsBucket, GcsStore
from controlplane.data.stores.google_identity import KeyFile
from controlplane.data.stores.http import StoreHttp
from controlplane.data.stores.s3 import Bucket, S3Store
from controlplane.data.stores.sigv4 import GOOGLE, Request, prepare, presign_aws, quoted
from controlplane.net.reach import Reach
from fixtures.store_rigs import service_account
from fixtures.stores import code_of

EXAMPLE = ("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")


def test_the_example_of_aws():
    """From "Authenticating Requests: Using Query Parameters (AWS Signature Version 4)"."""
    request = Request("GET", "https://examplebucket.s3.amazonaws.com", "/test.txt")
    url = presign_aws(request, *EXAMPLE, ("us-east-1", "s3"), datetime(2013, 5, 24, tzinfo=UTC), 86400)
    assert url == (
        "https://examplebucket.s3.amazonaws.com/test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256"
        "&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request"
        "&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host"
        "&X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"
    )


# (host, path, moment, seconds, SHA-256 of the canonical request) of googleapis/conformance-tests' V4 vectors.
FIRST, LAST = "20190201T090000Z", "20190301T090000Z"
DEEP = "/test-bucket//path/with/slashes/under_score/amper&sand/file.ext"
GOOGLES = [
    ("", "/test-bucket/test-object", FIRST, 10, "00e2fb794ea93d7adb703edaebdd509821fcc7d4f1a79ac5c8d2b394df109320"),
    ("", "/test-bucket/test-object", LAST, 20, "779f19fdb6fd381390e2d5af04947cf21750277ee3c20e0c97b7e46a1dff8907"),
    ("", DEEP, FIRST, 10, "63c601ecd6ccfec84f1113fc906609cbdf7651395f4300cecd96ddd2c35164f8"),
    ("test-bucket.", "/test-object", FIRST, 10, "89eeae48258eccdcb1f592fb908008e3f5d36a949c002c1e614c94356dc18fc6"),
]
ACCOUNT = "test-iam-credentials@dummy-project-id.iam.gserviceaccount.com"


@pytest.mark.parametrize(("host", "path", "stamp", "seconds", "digest"), GOOGLES)
def test_the_vectors_of_google(host, path, stamp, seconds, digest):
    now = datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    request = Request("GET", f"https://{host}storage.googleapis.com", quoted(path))
    unsigned = prepare(GOOGLE, request, ACCOUNT, ("auto", "storage"), now, seconds)
    assert unsigned.text == f"GOOG4-RSA-SHA256\n{stamp}\n{stamp[:8]}/auto/storage/goog4_request\n{digest}"


def test_a_key_file_signs_as_its_public_half_says():
    key = load_pem_private_key(json.loads(service_account())["private_key"].encode(), None)
    identity = KeyFile(service_account(), lambda: datetime.now(UTC))
    signature = bytes.fromhex(identity.sign("text"))
    key.public_key().verify(signature, b"text", padding.PKCS1v15(), hashes.SHA256())


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", '{"type": "external_account"}', '{"type": "service_account", "private_key": "x"}']
)
def test_what_is_no_key_file(text):
    assert code_of(KeyFile, text, lambda: datetime.now(UTC)) == "denied"


def test_a_shared_access_signature_of_azure():
    """The text has sixteen lines in the order of "Create a service SAS"; azurite checks the same in the contract."""
    grant = Grant("r", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), "/blob/account/box/a b", "b", "https", "attachment")
    fields = AccountKey("a2V5").sign(grant)
    assert fields["se"] == "2026-01-02T03:04:05Z"
    assert (fields["sp"], fields["sr"], fields["spr"], fields["rscd"]) == ("r", "b", "https", "attachment")
    assert len(grant.tail()) == 11


def test_where_a_bucket_is():
    assert Bucket("b", "eu-north-1", path_style=False).base == "https://b.s3.eu-north-1.amazonaws.com"
    assert Bucket("b.c", "eu-north-1", path_style=False).base == "https://s3.eu-north-1.amazonaws.com"
    assert Bucket("b", "cn-north-1", path_style=False).base == "https://b.s3.cn-north-1.amazonaws.com.cn"
    assert Bucket("b", "x", "https://minio.example:9000/").base == "https://minio.example:9000"
    assert Bucket("b", "x", "https://minio.example:9000").root == "/b"


# ---- what only a cloud could tell ------------------------------------------------------------------
def clock() -> datetime:
    return datetime(2026, 1, 2, tzinfo=UTC)


@pytest.mark.never_real(
    "A bucket of S3 with a KMS key", "the headers that ask for it are signed and told to the writer"
)
def test_a_kms_key_of_s3_is_signed_into_every_write():
    bucket = Bucket("b", "eu-north-1", path_style=False, kms_key="arn:aws:kms:eu-north-1:1:key/k")
    store = S3Store(bucket, GivenKey(AwsKey(*EXAMPLE)), StoreHttp(Reach()), 900, clock)
    signed = store.sign_put("p/e/1/x", 5)
    assert signed.headers == {
        "If-None-Match": "*",
        "x-amz-server-side-encryption": "aws:kms",
        "x-amz-server-side-encryption-aws-kms-key-id": "arn:aws:kms:eu-north-1:1:key/k",
    }
    fields = dict(parse_qsl(urlsplit(signed.url).query))
    assert fields["X-Amz-SignedHeaders"] == (
        "content-length;host;if-none-match;x-amz-server-side-encryption;x-amz-server-side-encryption-aws-kms-key-id"
    )


@pytest.mark.never_real(
    "Signed addresses of Google Cloud Storage, its preconditions and its KMS keys",
    "the text that is signed is that of Google's published vectors; bytes go through fake-gcs-server",
)
def test_what_google_is_told_with_a_write():
    bucket = GcsBucket("b", kms_key="projects/p/locations/l/keyRings/r/cryptoKeys/k")
    store = GcsStore(bucket, KeyFile(service_account(), clock), StoreHttp(Reach()), 900, clock)
    signed = store.sign_put("p/e/1/x", 5)
    assert signed.headers == {
        "x-goog-if-generation-match": "0",
        "x-goog-content-length-range": "5,5",
        "x-goog-encryption-kms-key-name": "projects/p/locations/l/keyRings/r/cryptoKeys/k",
    }
    fields = dict(parse_qsl(urlsplit(signed.url).query))
    assert fields["X-Goog-SignedHeaders"] == (
        "host;x-goog-content-length-range;x-goog-encryption-kms-key-name;x-goog-if-generation-match"
    )
