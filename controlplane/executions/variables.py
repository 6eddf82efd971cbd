"""Environment variables of one execution: secret ones are encrypted at rest, bound to it and to their name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from controlplane.executions.models import Execution
from controlplane.executions.request import Variable
from controlplane.security.vault import Vault


def kept(execution_id: str, variables: Mapping[str, Variable], vault: Vault) -> dict[str, Any]:
    """What the row holds: {NAME: {value, secret}}."""
    return {
        name: {
            "value": vault.encrypt(v.value, _context(execution_id, name)) if v.secret else v.value,
            "secret": v.secret,
        }
        for name, v in variables.items()
    }


def opened(execution: Execution, vault: Vault) -> dict[str, Variable]:
    """The variables in clear. Raises VaultError."""
    found: dict[str, Variable] = {}
    for name, entry in execution.environment_variables.items():
        value, secret = str(entry.get("value", "")), bool(entry.get("secret"))
        found[name] = Variable(vault.decrypt(value, _context(execution.id, name)) if secret else value, secret)
    return found


def split(execution: Execution, vault: Vault) -> tuple[dict[str, str], dict[str, str]]:
    """(plain, secret) values in clear. Raises VaultError."""
    variables = opened(execution, vault)
    plain = {name: v.value for name, v in variables.items() if not v.secret}
    return plain, {name: v.value for name, v in variables.items() if v.secret}


def _context(execution_id: str, name: str) -> str:
    return f"execution-variable:{execution_id}:{name}"
