"""One process of the Terraform provider for each configuration; the engine's connections choose among them."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.convert import to_config
from support.resources import is_known, without_marks
from support.sdk import Kinds
from support.terraform import Schemas, Terraform

REGION = "eu-west-1"
# Checks that only the real cloud answers, and names in paths: a bucket is no host here.
ON_THE_LOOPBACK = {
    "skip_credentials_validation": True,
    "skip_metadata_api_check": "true",
    "skip_region_validation": True,
    "s3_use_path_style": True,
}
CREDENTIALS = {"access_key": "testing", "secret_key": "testing"}


@dataclass(frozen=True)
class Session:
    """A configured provider."""

    terraform: Terraform
    region: str


class Sessions:
    """Sessions by the address of the engine's connection: it opens one for each provider of a program."""

    def __init__(self, binary: str, endpoint: str, folder: Path):
        # Whatever service it asks, it asks this machine; files of the person who runs the tests don't count.
        environment = {"AWS_ENDPOINT_URL": endpoint, "HOME": str(folder), "TMPDIR": str(folder)}
        self._new: Callable[[], Terraform] = lambda: Terraform(binary, environment, folder / "terraform-provider.log")
        self._running: list[Terraform] = []
        first = self._start()
        self.schemas: Schemas = first.schemas()
        self.kinds = Kinds(self.schemas)
        self._idle = [first]
        self._by_config: dict[str, Session] = {}
        self._by_peer: dict[str, Session] = {}
        self._lock = threading.Lock()

    def _start(self) -> Terraform:
        self._running.append(self._new())
        return self._running[-1]

    def configure(self, peer: str, inputs: dict[str, Any]) -> None:
        """Raises TerraformError, PropertyError."""
        given = {name: _parsed(value) for name, value in without_marks(inputs).items() if is_known(value)}
        given.pop("version", None)
        config = {
            **CREDENTIALS,
            "region": REGION,
            **to_config(self.schemas.provider, given, "provider"),
            **ON_THE_LOOPBACK,
        }
        with self._lock:
            self._by_peer[peer] = self._session(config)

    def _session(self, config: dict[str, Any]) -> Session:
        key = json.dumps(config, sort_keys=True)
        if key not in self._by_config:
            terraform = self._idle.pop() if self._idle else self._start()
            terraform.configure(self.schemas, config)
            self._by_config[key] = Session(terraform, config["region"])
        return self._by_config[key]

    def of(self, peer: str) -> Session:
        """Raises KeyError for a connection that was not configured."""
        with self._lock:
            return self._by_peer[peer]

    def close(self) -> None:
        for terraform in self._running:
            terraform.close()


def _parsed(value: Any) -> Any:
    """The SDK sends all but texts of a provider's configuration as JSON in a text."""
    if isinstance(value, str) and (value.startswith(("[", "{")) or value in ("true", "false")):
        return json.loads(value)
    return value
