"""Where tools/pulumi/build.sh puts Pulumi's CLI, and where a Terraform provider for AWS may lie."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from plugin.store_parts import ARCHITECTURE, place

BUILD = "tools/pulumi/build.sh"
_MODULES = [f"pulumi/{module}/{file}" for module in ("cli", "language-host") for file in ("go.mod", "go.sum")]
PULUMI = place("pulumi", *_MODULES) / "pulumi"
PLUGIN_FOLDERS = [Path("/opt"), Path("/usr/local/share/terraform"), Path.home() / ".terraform.d"]


def _pulumi() -> str:
    # With Go it could have been built: then its absence is a failure, not a part that can't be had.
    if PULUMI.exists() or shutil.which("go"):
        return ""
    return f"Pulumi's CLI is not there (needs its download host or Go; {BUILD})"


def find_terraform_aws() -> str:
    """Path of the newest Terraform provider for AWS, version 5 or newer, or empty. TERRAFORM_PROVIDER_AWS names one."""
    if named := os.environ.get("TERRAFORM_PROVIDER_AWS"):
        return named
    if found := shutil.which("terraform-provider-aws"):
        return found
    pattern = f"*/registry.terraform.io/hashicorp/aws/*/linux_{ARCHITECTURE}/terraform-provider-aws_v[5-9]*"
    files = [path for folder in PLUGIN_FOLDERS for path in folder.glob(pattern) if os.access(path, os.X_OK)]
    return str(max(files, key=_version_of, default=""))


def _version_of(path: Path) -> list[int]:
    return [int(number) for number in path.parents[1].name.split(".")]


def _terraform_aws() -> str:
    missing = "no Terraform provider for AWS is here (TERRAFORM_PROVIDER_AWS names its binary)"
    return "" if find_terraform_aws() else missing


PROBES: dict[str, Callable[[], str]] = {"pulumi": _pulumi, "terraform-aws": _terraform_aws}
