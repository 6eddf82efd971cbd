"""Stores: a private, encrypted, versioned bucket for each purpose, and the key that encrypts them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_aws as aws

from infra.aws.account import Account
from infra.aws.component import AwsComponent
from infra.names import Labels

PURPOSES = ("data", "code", "logs", "releases")
# People's browsers read and write these through signed URLs.
OPEN_TO_BROWSERS = ("data", "logs")
ABORT_UPLOADS_DAYS = 7


@dataclass(frozen=True)
class StoresWish:
    """`origin`: the dashboard's; `kms_key`: ARN of an existing key, or empty; days that overwritten objects stay."""

    origin: str
    retain_versions_days: int
    kms_key: str = ""


def deny_plain_http(partition: str, bucket: str) -> str:
    """Policy of a bucket: who comes without TLS is refused. Pure."""
    arn = f"arn:{partition}:s3:::{bucket}"
    statement = {
        "Sid": "OnlyTls",
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:*",
        "Resource": [arn, f"{arn}/*"],
        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
    }
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


class Stores(AwsComponent):
    """Outputs: `key_arn`, `buckets` (purpose to name). All of it holds data: destroy leaves it."""

    def __init__(self, account: Account, labels: Labels, wish: StoresWish) -> None:
        super().__init__("Stores", "stores", account, labels)
        self._account, self._wish = account, wish
        self.key_arn = pulumi.Output.from_input(wish.kms_key) if wish.kms_key else self._key()
        self.buckets = {purpose: self._bucket(purpose) for purpose in PURPOSES}
        self.register_outputs({"keyArn": self.key_arn, "buckets": self.buckets})

    def _key(self) -> pulumi.Output[str]:
        key = aws.kms.Key(
            self._labels.name("key"),
            description=f"Remora {self._labels.installation}: stores and secrets",
            enable_key_rotation=True,
            deletion_window_in_days=30,
            opts=self._child(keep=True),
        )
        return key.arn

    def _bucket(self, purpose: str) -> pulumi.Output[str]:
        name = self._labels.name(purpose)
        bucket = aws.s3.Bucket(
            name, tags=self._labels.tags(store=purpose), force_destroy=False, opts=self._child(keep=True)
        )
        common: dict[str, Any] = {"bucket": bucket.id, "opts": self._child(keep=True)}
        aws.s3.BucketPublicAccessBlock(
            name,
            block_public_acls=True,
            block_public_policy=True,
            ignore_public_acls=True,
            restrict_public_buckets=True,
            **common,
        )
        aws.s3.BucketOwnershipControls(name, rule={"object_ownership": "BucketOwnerEnforced"}, **common)
        aws.s3.BucketVersioning(name, versioning_configuration={"status": "Enabled"}, **common)
        aws.s3.BucketServerSideEncryptionConfiguration(name, rules=[self._encryption()], **common)
        aws.s3.BucketLifecycleConfiguration(name, rules=self._lifecycle(), **common)
        policy = bucket.id.apply(lambda made: deny_plain_http(self._account.partition, made))
        aws.s3.BucketPolicy(name, policy=policy, **common)
        if purpose in OPEN_TO_BROWSERS:
            aws.s3.BucketCorsConfiguration(name, cors_rules=[self._cors()], **common)
        return bucket.id

    def _encryption(self) -> aws.s3.BucketServerSideEncryptionConfigurationRuleArgsDict:
        return {
            "apply_server_side_encryption_by_default": {"sse_algorithm": "aws:kms", "kms_master_key_id": self.key_arn},
            "bucket_key_enabled": True,
        }

    def _lifecycle(self) -> list[aws.s3.BucketLifecycleConfigurationRuleArgsDict]:
        return [
            {
                "id": "overwritten",
                "status": "Enabled",
                "filter": {"prefix": ""},
                "noncurrent_version_expiration": {"noncurrent_days": self._wish.retain_versions_days},
            },
            {
                "id": "unfinished-uploads",
                "status": "Enabled",
                "filter": {"prefix": ""},
                "abort_incomplete_multipart_upload": {"days_after_initiation": ABORT_UPLOADS_DAYS},
            },
        ]

    def _cors(self) -> aws.s3.BucketCorsConfigurationCorsRuleArgsDict:
        return {
            "allowed_methods": ["GET", "HEAD", "PUT"],
            "allowed_origins": [self._wish.origin],
            "allowed_headers": ["*"],
            "expose_headers": ["ETag", "Content-Range", "x-amz-version-id"],
            "max_age_seconds": 3600,
        }
