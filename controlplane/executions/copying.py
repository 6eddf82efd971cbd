"""The body that makes an execution once more."""

from __future__ import annotations

from typing import Any

from controlplane.executions.models import Execution
from controlplane.executions.request import ExecutionChanges, NewExecution
from controlplane.executions.variables import opened
from controlplane.security.vault import Vault

LAID_OVER = ("parameters", "inputs", "environment_variables")


def copy_of(execution: Execution, changes: ExecutionChanges, vault: Vault) -> NewExecution:
    """The execution as a request, with the changes in it. Secret values stay secret. Raises VaultError."""
    first: dict[str, Any] = {
        "project": execution.project_id,
        "commit": "",
        "step": execution.step,
        "environment": execution.environment_id,
        "title": execution.title,
        "image": execution.image,
        "command": execution.command,
        "parameters": execution.parameters,
        "inputs": execution.inputs,
        "environment_variables": {
            name: {"value": v.value, "secret": v.secret} for name, v in opened(execution, vault).items()
        },
        "environment_variable_groups": execution.options.get("variable_groups", []),
        "inherit_environment_variables": execution.options.get("inherit_variables", True),
        "tags": execution.tags,
        "time_limit": execution.time_limit,
        "no_output_timeout": execution.no_output_timeout,
        "runtime_config": execution.options.get("runtime_config", {}),
        "priority": execution.priority,
    }
    given = changes.model_dump(exclude_none=True)
    if "step" in given and given["step"] != execution.step:
        # Another step has another image, command, parameters and inputs of its own.
        first |= {"image": None, "command": None, "parameters": {}, "inputs": {}}
    laid = {name: {**first[name], **given.pop(name, {})} for name in LAID_OVER}
    return NewExecution.model_validate({**first, **given, **laid})
