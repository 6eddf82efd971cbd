"""Which permission a request to AWS needs, and who sent it. Runs in moto's environment."""

from __future__ import annotations

import io
import re
from urllib.parse import parse_qs, unquote

from moto.sts.models import sts_backends  # pyright: ignore[reportMissingImports]

CREDENTIAL = re.compile(r"Credential=([^/]+)/\d+/[^/]+/([^/]+)/")
FORM = "application/x-www-form-urlencoded"
# S3 names what it is asked by the query: where permission and query are not called alike, both stand here.
# https://docs.aws.amazon.com/AmazonS3/latest/userguide/using-with-s3-policy-actions.html
BUCKET_PARTS = {
    "accelerate": "AccelerateConfiguration",
    "acl": "BucketAcl",
    "cors": "BucketCORS",
    "encryption": "EncryptionConfiguration",
    "lifecycle": "LifecycleConfiguration",
    "location": "BucketLocation",
    "logging": "BucketLogging",
    "notification": "BucketNotification",
    "object-lock": "BucketObjectLockConfiguration",
    "ownershipControls": "BucketOwnershipControls",
    "policy": "BucketPolicy",
    "policyStatus": "BucketPolicyStatus",
    "publicAccessBlock": "BucketPublicAccessBlock",
    "replication": "ReplicationConfiguration",
    "requestPayment": "BucketRequestPayment",
    "tagging": "BucketTagging",
    "versioning": "BucketVersioning",
    "website": "BucketWebsite",
}
# A part of a bucket is taken away by the permission to put it.
DELETED_BY_ITS_OWN = ("policy", "website")
OF_BUCKET = {"GET": "ListBucket", "HEAD": "ListBucket", "PUT": "CreateBucket", "DELETE": "DeleteBucket"}
OF_OBJECT = {
    "GET": "GetObject",
    "HEAD": "GetObject",
    "PUT": "PutObject",
    "POST": "PutObject",
    "DELETE": "DeleteObject",
}
OF_TAGS = {"GET": "ListTagsForResource", "POST": "TagResource", "DELETE": "UntagResource"}


class Calls:
    """Permissions by who used them: the name of a role that was taken on, else the access key."""

    def __init__(self):
        self._seen = {}

    def note(self, environ):
        """A request: only what is signed by a header counts."""
        found = CREDENTIAL.search(environ.get("HTTP_AUTHORIZATION", ""))
        if found is None:
            return
        key, service = found.groups()
        action = self._of_s3(environ) if service == "s3" else self._named(environ)
        if action:
            self._seen.setdefault(_who(key), set()).add(f"{service}:{action}")

    def told(self):
        """What was noted since it was last told."""
        seen, self._seen = self._seen, {}
        return {who: sorted(actions) for who, actions in seen.items()}

    @staticmethod
    def _named(environ):
        if target := environ.get("HTTP_X_AMZ_TARGET"):
            return target.rpartition(".")[2]
        if not environ.get("CONTENT_TYPE", "").startswith(FORM):
            return parse_qs(environ.get("QUERY_STRING", "")).get("Action", [""])[0]
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        environ["wsgi.input"] = io.BytesIO(body)
        return parse_qs(body.decode()).get("Action", [""])[0]

    @staticmethod
    def _of_s3(environ):
        method, path = environ["REQUEST_METHOD"], unquote(environ["PATH_INFO"])
        query = parse_qs(environ.get("QUERY_STRING", ""), keep_blank_values=True)
        if path.startswith("/v20180820/tags/"):
            return OF_TAGS[method]
        bucket, _, key = path.lstrip("/").partition("/")
        if not bucket:
            return "ListAllMyBuckets"
        if key:
            return OF_OBJECT[method]
        part = next((name for name in query if name in BUCKET_PARTS), "")
        if not part:
            return OF_BUCKET[method]
        verb = {"GET": "Get", "PUT": "Put"}.get(method, "Delete" if part in DELETED_BY_ITS_OWN else "Put")
        return f"{verb}{BUCKET_PARTS[part]}"


def _who(key):
    for account in sts_backends.values():
        for backend in account.values():
            for role in backend.assumed_roles:
                if role.access_key_id == key:
                    return role.role_arn.rpartition("/")[2]
    return key
