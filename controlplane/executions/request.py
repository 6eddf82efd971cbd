"""What is asked for, against what the commit's step allows. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, Field
from valohai_yaml.commands import join_command
from valohai_yaml.objs import Step

from controlplane.errors import ValidationError
from controlplane.executions.parameters import check_template, parameter_values
from controlplane.projects.service import MAX_VALUE, VARIABLE_NAME

LINE = re.compile(r"[^\x00-\x1f\x7f]{1,255}")
IMAGE = re.compile(r"[A-Za-z0-9][\w./:@-]{0,511}", re.ASCII)
MAX_TAGS = 100
MAX_URIS = 10_000
MAX_URI = 4_096
MAX_VARIABLES = 500
MAX_GROUPS = 20
MAX_COMMAND_BYTES = 120_000
MAX_SECONDS = 10 * 365 * 86_400

Errors = dict[str, Any]


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
    environment_variable_groups: list[str] = Field(default_factory=list, max_length=MAX_GROUPS)
    inherit_environment_variables: bool = True
    tags: list[str] = Field(default_factory=list)
    time_limit: int | None = Field(None, ge=0, le=MAX_SECONDS)
    no_output_timeout: int | None = Field(None, ge=0, le=MAX_SECONDS)
    runtime_config: dict[str, Any] = Field(default_factory=dict)
    runtime_config_preset: str | None = None
    priority: int = Field(0, ge=-100, le=100)


class ExecutionChanges(BaseModel):
    """Body of a copy: what is to differ. Parameters, inputs and variables are laid over the first one's."""

    commit: str | None = None
    step: str | None = None
    environment: str | None = None
    title: str | None = None
    image: str | None = None
    command: str | list[str] | None = None
    parameters: dict[str, Any] = Field(default_factory=dict)
    inputs: dict[str, list[str] | str] = Field(default_factory=dict)
    environment_variables: dict[str, Any] = Field(default_factory=dict)
    environment_variable_groups: list[str] | None = Field(None, max_length=MAX_GROUPS)
    inherit_environment_variables: bool | None = None
    tags: list[str] | None = None
    time_limit: int | None = Field(None, ge=0, le=MAX_SECONDS)
    no_output_timeout: int | None = Field(None, ge=0, le=MAX_SECONDS)
    runtime_config: dict[str, Any] | None = None
    priority: int | None = Field(None, ge=-100, le=100)


@dataclass(frozen=True)
class Variable:
    """Value of an environment variable, in clear."""

    value: str
    secret: bool = False


@dataclass(frozen=True)
class Template:
    """A step with everything decided. Times are seconds, 0 is none."""

    image: str
    command: str
    interpolated: str
    parameters: dict[str, Any]
    inputs: dict[str, list[str]]
    variables: dict[str, Variable]
    time_limit: int
    no_output_timeout: int
    environment: str | None
    options: dict[str, Any] = field(default_factory=dict)


def resolve(step: Step, wanted: NewExecution, inherited: Set[str] = frozenset()) -> Template:
    """The template of `wanted` by the commit's step. Raises ValidationError naming every bad field.

    `inherited`: names of variables that it gets from its project, organisation or groups.
    """
    errors: Errors = {}
    parameters = parameter_values(step, wanted.parameters, errors)
    inputs = _inputs(step, wanted.inputs, parameters, errors)
    variables = _variables(step, wanted.environment_variables, inherited, errors)
    image = wanted.image or step.image
    _check_texts(wanted, image, errors)
    _check_later(wanted, errors)
    command = wanted.command or step.command
    interpolated = "" if errors else _interpolate(step, parameters, command, errors)
    time_limit = _seconds("time_limit", wanted.time_limit, step.time_limit, errors)
    no_output_timeout = _seconds("no_output_timeout", wanted.no_output_timeout, step.no_output_timeout, errors)
    if errors:
        raise ValidationError(errors)
    return Template(
        image=image,
        command=command if isinstance(command, str) else "\n".join(command),
        interpolated=interpolated,
        parameters=parameters,
        inputs=inputs,
        variables=variables,
        time_limit=time_limit,
        no_output_timeout=no_output_timeout,
        environment=wanted.environment or step.environment,
        options=_options(step, wanted),
    )


def find_step(config: dict[str, Any], name: str) -> Step:
    """The step of that name. Raises ValidationError naming those that there are."""
    steps: dict[str, Any] = config.get("steps", {})
    if name not in steps or len(name) > 255:
        known = ", ".join(sorted(steps)) or "none"
        raise ValidationError(
            {"step": (f"The commit has no step {name[:80]!r}; it has: {known[:500]}.", "does_not_exist")}
        )
    return Step.parse(steps[name])


def check_tags(tags: list[str]) -> list[str]:
    """The tags in order, each once. Raises ValidationError."""
    if len(tags) > MAX_TAGS:
        raise ValidationError({"tags": f"At most {MAX_TAGS} tags."})
    for tag in tags:
        if not LINE.fullmatch(tag):
            raise ValidationError({"tags": f"A tag is 1 to 255 characters in one line; {tag[:40]!r} is not."})
    return sorted(set(tags))


def _interpolate(step: Step, parameters: dict[str, Any], command: str | list[str], errors: Errors) -> str:
    for parameter in step.parameters.values():
        for template in (parameter.pass_as, parameter.pass_true_as, parameter.pass_false_as):
            if template:
                check_template(parameter.name, str(template), errors)
    if errors:
        return ""
    try:
        text = join_command(step.build_command(parameters, command=command), "\n")
    except (ValueError, LookupError, TypeError) as error:
        errors["command"] = f"The command can't be put together: {str(error)[:200]}"
        return ""
    if len(text.encode()) > MAX_COMMAND_BYTES:
        errors["command"] = (
            f"With its parameters the command has more than {MAX_COMMAND_BYTES} bytes; pass long values by an input."
        )
    if not text.strip():
        errors["command"] = "The command is empty."
    return text


def _inputs(
    step: Step, given: Mapping[str, list[str] | str], parameters: dict[str, Any], errors: Errors
) -> dict[str, list[str]]:
    for name in given:
        if name not in step.inputs:
            known = ", ".join(step.inputs) or "none"
            errors[f"inputs.{name[:80]}"] = (
                f"The step has no input {name[:80]!r}; it has: {known[:500]}.",
                "unknown",
            )
    found: dict[str, list[str]] = {}
    for name, entry in step.inputs.items():
        uris = _listed(given.get(name)) or _listed(entry.default)
        found[name] = [_fill(uri.strip(), parameters) for uri in uris]
        if not uris and not entry.optional:
            errors[f"inputs.{name}"] = ("This input has no default; give it an address.", "required")
        elif len(uris) > MAX_URIS:
            errors[f"inputs.{name}"] = f"At most {MAX_URIS} addresses."
        elif any(len(uri) > MAX_URI for uri in found[name]):
            errors[f"inputs.{name}"] = f"An address has at most {MAX_URI} characters."
    return found


def _listed(value: list[str] | str | None) -> list[str]:
    if value is None or value == "":
        return []
    return [value] if isinstance(value, str) else list(value)


def _variables(step: Step, given: dict[str, Any], inherited: Set[str], errors: Errors) -> dict[str, Variable]:
    values = {name: Variable(str(v.default)) for name, v in step.environment_variables.items() if v.default is not None}
    for name, value in given.items():
        found = _variable(value)
        if found is None:
            errors[f"environment_variables.{name[:80]}"] = (
                'A text, a number, true or false is expected, or {"value": …, "secret": true}.'
            )
        else:
            values[name] = found
    for name, variable in values.items():
        if not VARIABLE_NAME.fullmatch(name):
            errors[f"environment_variables.{name[:80]}"] = "Letters, digits and '_', not beginning with a digit."
        elif len(variable.value) > MAX_VALUE or "\0" in variable.value:
            errors[f"environment_variables.{name}"] = f"At most {MAX_VALUE} characters, and no NUL."
    if len(values) > MAX_VARIABLES:
        errors["environment_variables"] = f"At most {MAX_VARIABLES} variables."
    for name, entry in step.environment_variables.items():
        if name not in values and name not in inherited and not entry.optional:
            errors[f"environment_variables.{name}"] = ("The step needs this variable; give it a value.", "required")
    return values


def _variable(value: Any) -> Variable | None:
    secret = False
    if isinstance(value, dict):
        secret, value = value.get("secret") is True, value.get("value", "")
    if isinstance(value, bool):
        return Variable(str(value).lower(), secret)
    return Variable(str(value), secret) if isinstance(value, (str, int, float)) else None


def _check_texts(wanted: NewExecution, image: str, errors: Errors) -> None:
    if wanted.title and not LINE.fullmatch(wanted.title):
        errors["title"] = "At most 255 characters in one line."
    try:
        check_tags(wanted.tags)
    except ValidationError as error:
        errors.update(error.fields)
    if not IMAGE.fullmatch(image):
        errors["image"] = f"{image[:80]!r} is no image name; one looks like 'python:3.11-slim'."


def _check_later(wanted: NewExecution, errors: Errors) -> None:
    """What would change what runs, and can't be done yet, is refused instead of being left out in silence."""
    later = {
        "runtime_config_preset": bool(wanted.runtime_config_preset),
        "runtime_config.remote_debug": bool(wanted.runtime_config.get("remote_debug")),
    }
    for name, asked in later.items():
        if asked:
            errors[name] = ("This comes in a later version of Remora; leave it out.", "not_implemented")


def _fill(uri: str, parameters: dict[str, Any]) -> str:
    """`{parameter:NAME}` in an address is that parameter's value."""
    return re.sub(r"\{parameter:([^{}]+)\}", lambda m: str(parameters.get(m.group(1), m.group(0))), uri)


def _seconds(name: str, wanted: int | None, default: Any, errors: Errors) -> int:
    seconds = wanted if wanted is not None else int(default.total_seconds()) if default else 0
    if not 0 <= seconds <= MAX_SECONDS:
        errors[name] = f"From 0 (none) to {MAX_SECONDS} seconds."
    return seconds


def _options(step: Step, wanted: NewExecution) -> dict[str, Any]:
    autorestart = wanted.runtime_config.get("autorestart", step.autorestart)
    inputs = {
        name: {
            "keep_directories": entry.keep_directories.value,
            "filename": entry.filename or "",
            "download": entry.download.value,
        }
        for name, entry in step.inputs.items()
    }
    mounts = [{"source": m.source, "destination": m.destination, "readonly": bool(m.readonly)} for m in step.mounts]
    cpu, memory = step.resources.cpu, step.resources.memory
    return {
        "autorestart": bool(autorestart),
        "runtime_config": wanted.runtime_config,
        "inputs": inputs,
        "mounts": mounts,
        "source_path": step.source_path or "",
        "upload_store": step.upload_store or "",
        "cpu": float((cpu and cpu.max) or 0),
        "memory": int((memory and memory.max) or 0) * 1_000_000,
    }
