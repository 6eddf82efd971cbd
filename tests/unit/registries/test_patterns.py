"""Which credential an image gets."""

from __future__ import annotations

import re
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.errors import ValidationError
from controlplane.registries.kinds import KINDS, kind_of
from controlplane.registries.patterns import Pattern, PatternError, nearest, parse_pattern
from worker_bootstrap.protocol.images import parse_image

WORD = st.from_regex(r"[a-z0-9]{1,6}", fullmatch=True)
HOSTS = st.sampled_from(["reg.example", "reg.example:5000", "localhost", "127.0.0.1:5000", "docker.io"])
PATHS = st.lists(WORD, min_size=2, max_size=4).map("/".join)
GLOBS = st.lists(st.sampled_from(["a", "b", "/", "*", "?", "[ab]", "-"]), min_size=1, max_size=8).map("".join)


@dataclass(frozen=True)
class Kept:
    id: str
    pattern: Pattern
    is_of_project: bool = False


def choose(image: str, *patterns: str) -> str:
    kept = [Kept(str(number), parse_pattern(text)) for number, text in enumerate(patterns)]
    found = nearest(kept, parse_image(image))
    return patterns[int(found.id)] if found else ""


@pytest.mark.parametrize(
    "image, host, path, reference",
    [
        ("python", "docker.io", "library/python", "latest"),
        ("python:3.11", "docker.io", "library/python", "3.11"),
        ("team/x", "docker.io", "team/x", "latest"),
        ("index.docker.io/team/x:1", "docker.io", "team/x", "1"),
        ("REG.example/team/x:1", "reg.example", "team/x", "1"),
        ("reg.example:5000/x", "reg.example:5000", "x", "latest"),
        ("localhost/x:2", "localhost", "x", "2"),
        ("reg.example/a/b:1@sha256:00ff", "reg.example", "a/b", "sha256:00ff"),
        ("reg.example/a/b@sha256:00ff", "reg.example", "a/b", "sha256:00ff"),
    ],
)
def test_names_of_images_as_engines_read_them(image: str, host: str, path: str, reference: str) -> None:
    found = parse_image(image)
    assert (found.host, found.path, found.reference) == (host, path, reference)


@pytest.mark.parametrize(
    "pattern, image",
    [
        ("docker.io/*", "python:3.11"),
        ("docker.io/python", "python:3.11"),
        ("python*", "docker.io/library/python"),
        ("team/*", "team/x:1"),
        ("docker.io/team/*", "index.docker.io/team/x"),
        ("reg.example/team/*", "reg.example/team/deep/x:1"),
        ("reg.example/team/x", "reg.example/team/x:7"),
        ("reg.example/team/x:7", "reg.example/team/x:7"),
        ("reg.example/team/x:*", "reg.example/team/x"),
        ("reg.example/team/v?:[12]", "reg.example/team/v3:2"),
    ],
)
def test_it_fits(pattern: str, image: str) -> None:
    assert choose(image, pattern) == pattern


@pytest.mark.parametrize(
    "pattern, image",
    [
        ("reg.example/*", "reg.example.evil.test/x"),
        ("reg.example/*", "reg.example:5000/x"),
        ("reg.example/team/*", "reg.example/teams/x"),
        ("reg.example/team/x:7", "reg.example/team/x:8"),
        ("docker.io/team/*", "evil.test/docker.io/team/x"),
        ("team/*", "python"),
    ],
)
def test_it_does_not_fit(pattern: str, image: str) -> None:
    assert choose(image, pattern) == ""


def test_the_nearest_wins() -> None:
    patterns = ("reg.example/*", "reg.example/team/*", "reg.example/team/x*", "reg.example/team/x", "reg.example/*/x")
    assert choose("reg.example/team/x:1", *patterns) == "reg.example/team/x"
    assert choose("reg.example/team/xy:1", *patterns) == "reg.example/team/x*"
    assert choose("reg.example/team/y", *patterns) == "reg.example/team/*"
    assert choose("reg.example/other/x", *patterns) == "reg.example/*/x"
    assert choose("reg.example/other/y", *patterns) == "reg.example/*"


def test_the_projects_own_comes_first_and_of_equals_the_newest() -> None:
    wide, narrow = parse_pattern("reg.example/*"), parse_pattern("reg.example/team/x")
    image = parse_image("reg.example/team/x")
    found = nearest([Kept("1", narrow), Kept("2", wide, is_of_project=True)], image)
    assert found is not None and found.id == "2"
    found = nearest([Kept("1", wide), Kept("3", wide), Kept("2", wide)], image)
    assert found is not None and found.id == "3"


@pytest.mark.parametrize(
    "pattern", ["*", "*/x", "*.example/x", "reg.*/x", "?eg.example/x", "reg.example:*/x", "[r]eg.e/x"]
)
def test_a_host_must_be_written_out(pattern: str) -> None:
    with pytest.raises(PatternError, match="host out"):
        parse_pattern(pattern)


@pytest.mark.parametrize(
    "pattern", ["", "reg.example/", "reg .example/x", "https://reg.example/x", "-.example/x", "é/x", "a" * 300]
)
def test_what_is_no_pattern(pattern: str) -> None:
    with pytest.raises(PatternError):
        parse_pattern(pattern)


def test_clouds_own_hosts_may_have_wildcards() -> None:
    pattern = KINDS["aws-ecr"].pattern("*.dkr.ecr.*.amazonaws.com/team/*")
    assert pattern.fits(parse_image("123456789012.dkr.ecr.eu-west-1.amazonaws.com/team/x"))
    assert not pattern.fits(parse_image("123456789012.dkr.ecr.eu-west-1.amazonaws.com.evil.test/team/x"))
    assert not pattern.fits(parse_image("evil.test.dkr.ecr.eu-west-1.amazonaws.com/team/x"))
    assert KINDS["gcp-cr"].pattern("*-docker.pkg.dev/p/*").fits(parse_image("europe-docker.pkg.dev/p/r/x"))
    assert not KINDS["gcp-cr"].pattern("*-docker.pkg.dev/p/*").fits(parse_image("a.b-docker.pkg.dev/p/r/x"))


@pytest.mark.parametrize(
    "kind, pattern",
    [
        ("aws-ecr", "reg.example/*"),
        ("aws-ecr-role", "docker.io/*"),
        ("gcp-cr", "*.pkg.dev/*"),
        ("azure-acr", "*.azurecr.io/*"),
        ("azure-acr", "myregistry.azurecr.io.evil.test/*"),
        ("docker", "*.amazonaws.com/*"),
    ],
)
def test_a_clouds_login_goes_to_that_cloud_only(kind: str, pattern: str) -> None:
    with pytest.raises(ValidationError) as error:
        KINDS[kind].pattern(pattern)
    assert set(error.value.fields) == {"image_pattern"}


@given(HOSTS, GLOBS, HOSTS, PATHS)
def test_a_login_never_goes_to_another_host(host: str, glob: str, other: str, path: str) -> None:
    try:
        pattern = parse_pattern(f"{host}/{glob}")
    except PatternError:
        return
    image = parse_image(f"{other}/{path}")
    assert not pattern.fits(image) or image.host == pattern.host


@given(HOSTS, PATHS, WORD)
def test_a_name_fits_itself_with_every_tag_and_is_the_nearest(host: str, path: str, tag: str) -> None:
    name = f"{host}/{path}"
    assert choose(f"{name}:{tag}", f"{host}/*", f"{host}/{path[:1]}*", name) == name


@given(st.lists(st.tuples(HOSTS, GLOBS), max_size=6), HOSTS, PATHS, st.randoms())
def test_the_order_of_the_credentials_does_not_matter(found, host, path, random) -> None:  # type: ignore[no-untyped-def]
    kept = []
    for number, (at, glob) in enumerate(found):
        try:
            kept.append(Kept(str(number), parse_pattern(f"{at}/{glob}")))
        except PatternError:
            continue
    image = parse_image(f"{host}/{path}")
    first = nearest(kept, image)
    random.shuffle(kept)
    assert nearest(kept, image) == first
    assert (first is None) == (not any(entry.pattern.fits(image) for entry in kept))


@given(st.text(max_size=300))
def test_any_text_is_a_pattern_or_a_sentence(text: str) -> None:
    try:
        found = parse_pattern(text)
    except PatternError as error:
        assert str(error).endswith(".")
        return
    assert str(parse_pattern(str(found))) == str(found)
    assert not re.search(r"[*?\[]", found.host)


# ---- configuration ---------------------------------------------------------------------------------
def test_each_type_says_what_it_needs() -> None:
    with pytest.raises(ValidationError) as error:
        KINDS["docker"].check({"username": "u"})
    assert set(error.value.fields) == {"configuration.password"}
    with pytest.raises(ValidationError) as error:
        KINDS["azure-acr"].check({"tenant_id": "t", "client_id": "0" * 36})
    assert set(error.value.fields) == {"configuration.client_secret"}
    with pytest.raises(ValidationError) as error:
        KINDS["aws-ecr"].check({"access_key_id": "A" * 20, "secret_access_key": "s", "region": "http://evil.test/"})
    assert set(error.value.fields) == {"configuration.region"}


def test_of_two_ways_one_is_kept() -> None:
    both = {"tenant_id": "t", "client_id": "0" * 36, "client_secret": "s", "username": "u", "password": "p", "odd": "x"}
    assert set(KINDS["azure-acr"].check(both)) == {"tenant_id", "client_id", "client_secret"}


def test_types_of_older_clients() -> None:
    assert kind_of("aws_ecr_role").type == "aws-ecr-role"
    with pytest.raises(ValidationError, match="none of docker"):
        kind_of("quay")
