"""The types of credentials: their keys, which of them are secret, and what each must look like. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from controlplane.errors import ValidationError
from controlplane.registries.patterns import Pattern, PatternError, parse_pattern

MOST_VALUE = 20_000
LINE = r"[^\x00-\x1f\x7f]{1,4096}"
REGION = r"[a-z]{2}(-[a-z]+)+-[0-9]{1,2}"
ECR = r"([0-9]{12}|\*)\.dkr\.ecr(-fips)?\.([a-z0-9-]+|\*)\.amazonaws\.com(\.cn)?"
GOOGLE = r"(([a-z0-9-]+|\*)-docker\.pkg\.dev|(([a-z]+|\*)\.)?gcr\.io)"
AZURE = r"[a-z0-9]{5,50}(-[a-z0-9]+)*\.azurecr\.(io|cn|us)"


@dataclass(frozen=True)
class Key:
    """One key of `configuration`. `looks` is a regular expression, `hint` says it in words."""

    name: str
    label: str
    secret: bool = False
    looks: str = LINE
    hint: str = ""
    long: bool = False


@dataclass(frozen=True)
class Kind:
    """A type. `ways`: sets of keys, one of which must be given whole; `hosts`: the only hosts it is for."""

    type: str
    title: str
    keys: tuple[Key, ...]
    ways: tuple[frozenset[str], ...]
    hosts: str = ""
    example: str = "registry.example/team/*"

    @property
    def secret_names(self) -> frozenset[str]:
        """Keys whose values are never shown again."""
        return frozenset(key.name for key in self.keys if key.secret)

    def pattern(self, text: str) -> Pattern:
        """The pattern, if it is one for this type. Raises ValidationError."""
        hosts = re.compile(self.hosts) if self.hosts else None
        try:
            found = parse_pattern(text, hosts)
        except PatternError as error:
            raise ValidationError({"image_pattern": str(error)}) from error
        if hosts is not None and not hosts.fullmatch(found.host):
            raise ValidationError({"image_pattern": f"{self.title} has other hosts; like {self.example!r}."})
        return found

    def check(self, given: Mapping[str, str]) -> dict[str, str]:
        """The known keys that have a value, of one way. Raises ValidationError naming every bad one."""
        found = {key.name: given[key.name] for key in self.keys if given.get(key.name)}
        errors = {
            f"configuration.{key.name}": key.hint or "One line of text."
            for key in self.keys
            if key.name in found
            and (len(found[key.name]) > MOST_VALUE or not re.fullmatch(key.looks, found[key.name], re.DOTALL))
        }
        way = next((way for way in self.ways if way <= found.keys()), None)
        if not errors and way is None:
            nearest = max(self.ways, key=lambda way: (len(way & found.keys()), -len(way)))
            errors = {f"configuration.{name}": "This is needed." for name in sorted(nearest - found.keys())}
        if errors:
            raise ValidationError({name: (sentence, "invalid") for name, sentence in errors.items()})
        others = frozenset[str]().union(*self.ways) - (way or frozenset())
        return {name: value for name, value in found.items() if name not in others}


def _login(user: str = "User") -> tuple[Key, Key]:
    return Key("username", user), Key("password", "Password or token", secret=True)


_REGION = Key("region", "Region", looks=REGION, hint="A region like eu-west-1; without one it is the host's.")

KINDS: Mapping[str, Kind] = {
    kind.type: kind
    for kind in (
        Kind("docker", "User and password", _login(), (frozenset({"username", "password"}),)),
        Kind(
            "aws-ecr",
            "AWS ECR by access key",
            (
                Key("access_key_id", "Access key id", looks=r"\w{16,128}", hint="16 to 128 letters and digits."),
                Key("secret_access_key", "Secret access key", secret=True),
                _REGION,
            ),
            (frozenset({"access_key_id", "secret_access_key"}),),
            hosts=ECR,
            example="123456789012.dkr.ecr.eu-west-1.amazonaws.com/*",
        ),
        Kind(
            "aws-ecr-role",
            "AWS ECR by role",
            (
                Key(
                    "role_name",
                    "Role",
                    looks=r"(arn:aws[a-z-]*:iam::[0-9]{12}:role/)?[\w+=,.@/-]{1,512}",
                    hint="A role's name in the account of the images, or its ARN.",
                ),
                _REGION,
            ),
            (frozenset({"role_name"}),),
            hosts=ECR,
            example="123456789012.dkr.ecr.eu-west-1.amazonaws.com/*",
        ),
        Kind(
            "gcp-cr",
            "Google Artifact Registry",
            (
                Key("service_account_json", "JSON key of a service account", secret=True, looks=r"\s*\{.*\}\s*",
                    hint="The whole content of the key's JSON file.", long=True),
                Key("workload_identity", "Service account that the server may speak for", looks=r"[\w.-]+@[\w.-]+",
                    hint="An e-mail address of a service account; only an operator may set it."),
            ),
            (frozenset({"service_account_json"}), frozenset({"workload_identity"})),
            hosts=GOOGLE,
            example="europe-docker.pkg.dev/project/*",
        ),
        Kind(
            "azure-acr",
            "Azure Container Registry",
            (
                Key("tenant_id", "Directory (tenant) id", looks=r"[A-Za-z0-9.-]{1,100}", hint="A UUID or a domain."),
                Key("client_id", "Application (client) id", looks=r"[A-Fa-f0-9-]{36}", hint="A UUID."),
                Key("client_secret", "Client secret", secret=True),
                *_login("User, instead of an application"),
            ),
            (frozenset({"tenant_id", "client_id", "client_secret"}), frozenset({"username", "password"})),
            hosts=AZURE,
            example="myregistry.azurecr.io/*",
        ),
    )
}  # fmt: skip


def kind_of(name: str) -> Kind:
    """The type of this name; the underscores of older clients are taken too. Raises ValidationError."""
    kind = KINDS.get(name.replace("_", "-"))
    if kind is None:
        raise ValidationError({"type": f"{name[:40]!r} is none of {', '.join(KINDS)}."})
    return kind
