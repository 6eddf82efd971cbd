"""Values of parameters, against what the step says of each. Pure."""

from __future__ import annotations

import math
from string import Formatter
from typing import Any

from valohai_yaml.excs import ValidationErrors
from valohai_yaml.objs import Parameter, Step
from valohai_yaml.objs.parameter import ValueAtomType

MAX_VALUES = 10_000
MAX_TEXT = 100_000
FIELDS = frozenset({"name", "value", "v"})


def parameter_values(step: Step, given: dict[str, Any], errors: dict[str, Any]) -> dict[str, Any]:
    """{name: value} with defaults filled in; flags and optional parameters that are unset are left out."""
    for name in given:
        if name not in step.parameters:
            known = ", ".join(step.parameters) or "none"
            errors[f"parameters.{name[:80]}"] = (
                f"The step has no parameter {name[:80]!r}; it has: {known[:500]}.",
                "unknown",
            )
    values: dict[str, Any] = {}
    for name, parameter in step.parameters.items():
        value = given.get(name)
        value = parameter.default if value is None else value
        if value is not None:
            values[name] = _checked(parameter, value, errors)
        elif not parameter.optional:
            errors[f"parameters.{name}"] = ("This parameter has no default; give it a value.", "required")
    return values


def check_template(name: str, template: str, errors: dict[str, Any]) -> None:
    """Only the plain fields `name`, `value` and `v`: attributes, indexes and widths are no business of a command."""
    try:
        parts = list(Formatter().parse(template))
    except ValueError as error:
        errors[f"parameters.{name}"] = f"Its `pass-as` {template[:80]!r} can't be read: {error}."
        return
    for _, field, spec, conversion in parts:
        if field is not None and (field not in FIELDS or spec or conversion):
            errors[f"parameters.{name}"] = (
                f"Its `pass-as` {template[:80]!r} may hold {{name}}, {{value}} and {{v}} only; write {{{{ for a brace."
            )


def _checked(parameter: Parameter, value: Any, errors: dict[str, Any]) -> Any:
    field = f"parameters.{parameter.name}"
    if parameter.type == "flag":
        flag = {"true": True, "false": False}.get(str(value).lower())
        if flag is None:
            errors[field] = "true or false is expected."
        return flag
    atoms = value if isinstance(value, list) else [value]
    if len(atoms) > MAX_VALUES:
        errors[field] = f"At most {MAX_VALUES} values."
        return None
    if any(not isinstance(atom, (str, int, float)) or len(str(atom)) > MAX_TEXT for atom in atoms):
        errors[field] = f"Texts of at most {MAX_TEXT} characters, numbers, true or false are expected."
        return None
    if parameter.type == "string" and parameter.choices:
        parameter.choices = list[ValueAtomType](str(choice) for choice in parameter.choices)
    plain = [_of_type(parameter.type, atom) for atom in atoms]
    try:
        found = parameter.validate(plain if isinstance(value, list) else plain[0])
    except (ValidationErrors, ValueError, TypeError) as error:
        problems = error.errors if isinstance(error, ValidationErrors) else [error]
        errors[field] = "; ".join(str(problem)[:300] for problem in problems[:5]) + "."
        return None
    if any(
        isinstance(atom, float) and not math.isfinite(atom) for atom in (found if isinstance(found, list) else [found])
    ):
        errors[field] = "A finite number is expected."
    return found


def _of_type(kind: str, value: Any) -> Any:
    """JSON's own types in the form that the parameter's type wants."""
    if kind == "string":
        return str(value).lower() if isinstance(value, bool) else str(value)
    if kind == "integer" and isinstance(value, float) and value.is_integer():
        return int(value)
    return value
