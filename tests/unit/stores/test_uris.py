"""Addresses of objects in stores, taken apart."""

from __future__ import annotations

import pytest

from controlplane.stores.uris import key_of


@pytest.mark.parametrize(
    ("uri", "key"),
    [
        ("s3://bucket/a/b.csv", "a/b.csv"),
        ("gs://bucket/a b.csv", "a b.csv"),
        ("azure://account/container/a/b.csv", "a/b.csv"),
        ("swift://project/container/b.csv", "b.csv"),
        ("s3://bucket/", ""),
        ("azure://account/container", ""),
    ],
)
def test_the_key_is_what_follows_the_bucket_or_container(uri: str, key: str) -> None:
    assert key_of(uri) == key
