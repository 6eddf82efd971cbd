"""What is asked for, against what the commit's step allows. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, Field
from valohai_yaml.commands import join_command
from valohai_yaml.excs import ValidationErrors
from valohai_yaml.objs import Step

from controlplane.errors import ValidationError
from controlplane.projects.service import VARIABLE_NAME

NAME = re.compile(r"[^\x00-\x1f]{1,255}")
MAX_TAGS = 100
MAX_URIS = 10_000


class NewExecution(BaseModel):
    """Body of an execution's creation."""

    project: str
    commit: str
    step: str
    environment: str | None = None
    title: str | None = None
    image: str | None = None
    command: str | list[str] | None = None
    parameters: dict[str, Any] = Field(default_factory=dict)
    inputs: dict[str, list[str] | str] = Field(default_factory=dict)
    environment_variables: dict[str, Any] = Field(default_factory=dict)
    environment_variable_groups: list[str] = Field(default_factory=list)
    tags: list[str] = Field(default_factory=list)
    time_limit: int | None = Field(None, ge=0)
    no_output_timeout: int | None = Field(None, ge=0)
    runtime_config: dict[str, Any] = Field(default_factory=dict)
    runtime_config_preset: str | None = None
    priority: int = Field(0, ge=-100, le=100)


@dataclass(frozen=True)
class Template:
    """A step with everything decided."""

    image: str
    command: str
    interpolated: str
    parameters: dict[str, Any]
    inputs: dict[str, list[str]]
    variables: dict[str, str]
    time_limit: int
    no_output_timeout: int
    environment: str | None
    options: dict[str, Any] = field(default_factory=dict)


def resolve(config: dict[str, Any], wanted: NewExecution) -> Template:
    """The template of `wanted` by the judged configuration. Raises ValidationError naming every bad field."""
    steps: dict[str, Any] = config.get("steps", {})
    if wanted.step not in steps:
        known = ", ".join(sorted(steps)) or "none"
        raise ValidationError({"step": (f"The commit has no step {wanted.step!r}; it has: {known}.", "does_not_exist")})
    step: Step = Step.parse(steps[wanted.step])
    errors: dict[str, Any] = {}
    parameters = _parameters(step, wanted.parameters, errors)
    inputs = _inputs(step, wanted.inputs, errors)
    variables = _variables(step, wanted.environment_variables, errors)
    _check_texts(wanted, errors)
    if errors:
        raise ValidationError(errors)
    command = wanted.command or step.command
    lines = step.build_command(_given(step, parameters), command=command)
    return Template(
        image=wanted.image or step.image,
        command=command if isinstance(command, str) else "\n".join(command),
        interpolated=join_command(lines, "\n"),
        parameters=parameters,
        inputs={name: [_fill(uri, parameters) for uri in uris] for name, uris in inputs.items()},
        variables=variables,
        time_limit=_seconds(wanted.time_limit, step.time_limit),
        no_output_timeout=_seconds(wanted.no_output_timeout, step.no_output_timeout),
        environment=wanted.environment or step.environment,
        options=_options(step, wanted),
    )


def _parameters(step: Step, given: dict[str, Any], errors: dict[str, Any]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name in given:
        if name not in step.parameters:
            known = ", ".join(step.parameters) or "none"
            errors[f"parameters.{name}"] = (f"The step has no parameter {name!r}; it has: {known}.", "unknown")
    for name, parameter in step.parameters.items():
        value = given.get(name, parameter.default)
        if value is None:
            if not parameter.optional and parameter.type != "flag":
                errors[f"parameters.{name}"] = ("This parameter has no default; give it a value.", "required")
            continue
        if parameter.type == "flag":
            flag = {"true": True, "false": False}.get(str(value).lower())
            if flag is None:
                errors[f"parameters.{name}"] = "true or false is expected."
                continue
            values[name] = flag
            continue
        try:
            values[name] = parameter.validate(value)
        except (ValidationErrors, ValueError, TypeError) as error:
            problems = error.errors if isinstance(error, ValidationErrors) else [str(error)]
            errors[f"parameters.{name}"] = "; ".join(str(problem) for problem in problems)
    return values


def _given(step: Step, parameters: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in parameters.items() if name in step.parameters}


def _inputs(step: Step, given: dict[str, list[str] | str], errors: dict[str, Any]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, value in given.items():
        if name not in step.inputs:
            known = ", ".join(step.inputs) or "none"
            errors[f"inputs.{name}"] = (f"The step has no input {name!r}; it has: {known}.", "unknown")
            continue
        found[name] = [value] if isinstance(value, str) else list(value)
    for name, entry in step.inputs.items():
        if not found.get(name):
            default = entry.default
            found[name] = [] if default is None else [default] if isinstance(default, str) else list(default)
        if not found[name] and not entry.optional:
            errors[f"inputs.{name}"] = ("This input has no default; give it an address.", "required")
        if len(found[name]) > MAX_URIS:
            errors[f"inputs.{name}"] = f"At most {MAX_URIS} addresses."
    return found


def _variables(step: Step, given: dict[str, Any], errors: dict[str, Any]) -> dict[str, str]:
    values = {name: str(v.default) for name, v in step.environment_variables.items() if v.default is not None}
    for name, value in given.items():
        if not VARIABLE_NAME.fullmatch(name):
            errors[f"environment_variables.{name[:80]}"] = "Letters, digits and '_', not beginning with a digit."
            continue
        values[name] = str(value.get("value", "") if isinstance(value, dict) else value)
    for name, variable in step.environment_variables.items():
        if name not in values and not variable.optional:
            errors[f"environment_variables.{name}"] = ("The step needs this variable; give it a value.", "required")
    return values


def _check_texts(wanted: NewExecution, errors: dict[str, Any]) -> None:
    if wanted.title and not NAME.fullmatch(wanted.title):
        errors["title"] = "At most 255 characters in one line."
    if len(wanted.tags) > MAX_TAGS:
        errors["tags"] = f"At most {MAX_TAGS} tags."
    elif any(not NAME.fullmatch(tag) for tag in wanted.tags):
        errors["tags"] = "A tag is 1 to 255 characters in one line."
    if wanted.image is not None and not re.fullmatch(r"[A-Za-z0-9][\w./:@-]{0,500}", wanted.image):
        errors["image"] = f"{wanted.image[:80]!r} is no image name."


def _fill(uri: str, parameters: dict[str, Any]) -> str:
    """`{parameter:NAME}` in an address is that parameter's value."""
    return re.sub(r"\{parameter:([^}]+)\}", lambda m: str(parameters.get(m.group(1), m.group(0))), uri)


def _seconds(wanted: int | None, default: Any) -> int:
    if wanted is not None:
        return wanted
    return int(default.total_seconds()) if default else 0


def _options(step: Step, wanted: NewExecution) -> dict[str, Any]:
    autorestart = wanted.runtime_config.get("autorestart", step.autorestart)
    inputs = {
        name: {
            "keep_directories": str(getattr(entry.keep_directories, "value", entry.keep_directories) or "none"),
            "filename": entry.filename or "",
            "download": str(getattr(entry.download, "value", entry.download) or "always"),
        }
        for name, entry in step.inputs.items()
    }
    mounts = [{"source": m.source, "destination": m.destination, "readonly": bool(m.readonly)} for m in step.mounts]
    return {
        "autorestart": bool(autorestart),
        "runtime_config": wanted.runtime_config,
        "inputs": inputs,
        "mounts": mounts,
        "source_path": step.source_path or "",
    }
