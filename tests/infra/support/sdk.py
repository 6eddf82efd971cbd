"""What the Python SDK says of a token: its class, its properties, and the type of Terraform's provider behind it.

pulumi-aws carries no table of this; the names follow rules, and where these leave a doubt the properties decide.
"""

from __future__ import annotations

import importlib
import inspect
import keyword
import re
import threading
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

from pulumi import _types as types

from support.terraform import Schemas
from support.values import Block

# Where the SDK's name of a property has nothing of Terraform's.
RENAMED = {
    ("aws_cloudwatch_metric_alarm", "name"): "alarm_name",
    ("aws_lambda_function", "code"): "filename",
    ("aws_lambda_function", "name"): "function_name",
    ("aws_lambda_permission", "function"): "function_name",
    ("aws_sns_topic_subscription", "topic"): "topic_arn",
}
# In every schema, or only in newer ones: they tell nothing of which type it is.
_COMMON = {"id", "region", "tags", "tags_all", "tagsAll", "timeouts"}
# A type whose name fits has most of the properties; one whose name does not must have nearly all. Both sides may be of
# different ages.
_ALIKE_IN_NAME, _ALIKE = 0.5, 0.75


class UnknownTokenError(Exception):
    """Neither the SDK nor the provider knows it."""


def plain(name: str) -> str:
    """A name of either side without case, underscores and plural."""
    word = name.replace("_", "").lower().rstrip("es")
    return word[:-1] + "i" if word.endswith("y") else word


def camel(name: str) -> str:
    """The SDK's spelling of a name of Terraform's."""
    first, *others = name.split("_")
    return first + "".join(word.capitalize() for word in others)


def snake(name: str) -> str:
    """Terraform's spelling of a name of the SDK's."""
    return re.sub(r"(?<=[a-z0-9])([A-Z])", r"_\1", name).lower()


@cache
def _names(block: Block) -> tuple[dict[str, str], dict[str, str]]:
    names = [*block.attributes, *block.blocks]
    return {name.replace("_", ""): name for name in names}, {plain(name): name for name in names}


def terraform_name(block: Block, wire: str, kind: str = "") -> str | None:
    """Terraform's name of a property of the SDK, or None."""
    exact, roughly = _names(block)
    return RENAMED.get((kind, wire)) or exact.get(wire.lower()) or roughly.get(plain(wire))


@dataclass(frozen=True, eq=False)
class Kind:
    """A resource or data source: Terraform's type and block, the SDK's properties with their Python types."""

    token: str
    terraform: str
    block: Block
    properties: dict[str, Any]
    required: frozenset[str] = frozenset()
    inputs: frozenset[str] = frozenset()

    def name_of(self, wire: str) -> str | None:
        return terraform_name(self.block, wire, self.terraform)

    @cached_property
    def wires(self) -> dict[str, str]:
        """The SDK's names by Terraform's."""
        known = {self.name_of(wire): wire for wire in [*self.properties, *self.inputs]}
        return {name: wire for name, wire in known.items() if name}

    def wire_of(self, name: str) -> str:
        return self.wires.get(name) or camel(name)


class Kinds:
    """All that the SDK and the provider know in common."""

    def __init__(self, schemas: Schemas):
        self._schemas = schemas
        self._resources: dict[str, Kind] = {}
        self._sources: dict[str, Kind] = {}
        # The SDK loads its modules when they are asked for, which two threads must not do at once.
        self._lock = threading.Lock()

    def resource(self, token: str) -> Kind:
        """Raises UnknownTokenError."""
        with self._lock:
            if token not in self._resources:
                self._resources[token] = self._resource(token)
            return self._resources[token]

    def source(self, token: str) -> Kind:
        """The same of a function that looks something up."""
        with self._lock:
            if token not in self._sources:
                self._sources[token] = self._source(token)
            return self._sources[token]

    def _resource(self, token: str) -> Kind:
        found = _class_of(token, token.rpartition(":")[2])
        arguments = _class_of(token, f"{found.__name__}Args")
        properties = types.resource_types(found)
        inputs = types.input_type_types(arguments)
        terraform = _find(token, {*properties, *inputs}, self._schemas.resource_names())
        block = self._schemas.resource(terraform)
        return Kind(token, terraform, block, properties, _required(arguments), frozenset(inputs))

    def _source(self, token: str) -> Kind:
        name = token.rpartition(":")[2].removeprefix("get")
        properties = types.output_type_types(_class_of(token, f"Get{name}Result"))
        terraform = _find(token, set(properties), self._schemas.source_names())
        return Kind(token, terraform, self._schemas.source(terraform), properties)


def nested_properties(annotation: Any) -> dict[str, Any]:
    """The properties of the class that a property's Python type holds, or holds a list of; empty for plain values."""
    inner = element_of(annotation)
    return types.output_type_types(inner) if isinstance(inner, type) and types.is_output_type(inner) else {}


def is_list(annotation: Any) -> bool:
    """Whether the SDK gives a list, not the single item of it."""
    return "Sequence" in str(getattr(annotation, "__origin__", "")) or getattr(annotation, "__origin__", None) is list


def element_of(annotation: Any) -> Any:
    return annotation.__args__[0] if is_list(annotation) else annotation


def _required(arguments: Any) -> frozenset[str]:
    parameters = inspect.signature(arguments.__init__).parameters
    wires = types.input_type_py_to_pulumi_names(arguments)
    return frozenset(wire for name, wire in wires.items() if parameters[name].default is inspect.Parameter.empty)


def _class_of(token: str, name: str) -> Any:
    module = token.split(":")[1].partition("/")[0]
    module += "_" if keyword.iskeyword(module) else ""
    try:
        package = importlib.import_module("pulumi_aws" if module == "index" else f"pulumi_aws.{module}")
        return getattr(package, name)
    except (ImportError, AttributeError):
        raise UnknownTokenError(f"the Python SDK has no {name} for {token}") from None


def _find(token: str, wires: set[str], known: dict[str, frozenset[str]]) -> str:
    _, module, name = token.split(":")
    module, word = module.partition("/")[0], snake(name.removeprefix("get"))
    wanted = {plain(wire) for wire in wires - _COMMON}
    by_rule = [kind for kind in (f"aws_{module}_{word}", f"aws_{word}", f"aws_{module}") if kind in known]
    for candidates, enough in ((by_rule, _ALIKE_IN_NAME), (list(known), _ALIKE)):
        likeness, best = max(((_likeness(wanted, known[kind]), kind) for kind in candidates), default=(0, ""))
        if likeness >= enough:
            return best
    raise UnknownTokenError(f"no type of the Terraform provider has the properties of {token}")


def _likeness(wanted: set[str], names: frozenset[str]) -> float:
    have = {plain(name) for name in names - _COMMON}
    return len(wanted & have) / (len(wanted | have) or 1)
