"""What Pulumi's provider is asked for a resource, on Terraform's terms: inputs, plan, state, names."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import Any

from support.convert import ENGINE_MARKS, to_config, to_outputs
from support.sdk import Kind
from support.terraform import Plan, State
from support.values import UNKNOWN
from support.wire import Secret

# Terraform's state travels in an output of its own. It may hold secrets: the engine keeps it encrypted.
STATE = "__terraform"
# Names that must begin so.
NAME_PREFIXES = {"aws_kms_alias": "alias/"}
HEX_DIGITS = 7


@dataclass(frozen=True)
class Change:
    """The SDK's names of what differs, and of what asks for a new resource."""

    differs: list[str]
    replaces: list[str]


def with_state(kind: Kind, state: State, region: str) -> dict[str, Any]:
    """Outputs that the engine keeps; those that the provider calls sensitive are secret."""
    outputs = {name: _guarded(kind, name, value) for name, value in to_outputs(kind, state.value, region).items()}
    kept = {"value": state.value, "private": base64.b64encode(state.private).decode()}
    return {**outputs, STATE: Secret(json.dumps(kept))}


def planned(kind: Kind, plan: Plan, region: str) -> dict[str, Any]:
    """Outputs as far as a preview knows them."""
    return {name: _guarded(kind, name, value) for name, value in to_outputs(kind, plan.value, region).items()}


def _guarded(kind: Kind, wire: str, value: Any) -> Any:
    attribute = kind.block.attributes.get(kind.name_of(wire) or "")
    return Secret(value) if attribute and attribute.sensitive else value


def state_of(outputs: dict[str, Any]) -> State | None:
    """The state that an earlier answer carried, or None."""
    if STATE not in outputs:
        return None
    kept = json.loads(outputs[STATE])
    return State(kept["value"], base64.b64decode(kept["private"]))


def config_of(kind: Kind, inputs: dict[str, Any], region: str) -> dict[str, Any]:
    """The configuration of these inputs. Raises PropertyError."""
    # Version 5 of the provider has one region for each configuration.
    if "region" not in kind.block.attributes and inputs.get("region") == region:
        inputs = {name: value for name, value in inputs.items() if name != "region"}
    return to_config(kind.block, inputs, kind.terraform)


def keep_ignored(kind: Kind, config: dict[str, Any], ignored: list[str], prior: State) -> dict[str, Any]:
    """What the program ignores stays as it stands. The engine itself sees to paths inside a property."""
    names = {kind.name_of(path) for path in ignored if path.isidentifier()}
    return {**config, **{name: prior.value.get(name) for name in names if name}}


def change(kind: Kind, plan: Plan, prior: State) -> Change:
    """What a plan changes."""
    differs = [name for name, value in plan.value.items() if value != prior.value.get(name)]
    replaces = [name for name in plan.replaces if name in differs]
    return Change([kind.wire_of(name) for name in differs], [kind.wire_of(name) for name in replaces])


def identity(kind: Kind, state: State) -> str:
    """The id that the engine keeps."""
    found = state.value.get("id") or state.value.get("arn")
    assert isinstance(found, str), f"{kind.terraform} has no id"
    return found


def named(kind: Kind, inputs: dict[str, Any], before: dict[str, Any], name: str, seed: bytes) -> dict[str, Any]:
    """The inputs with names for what the program leaves unnamed: the resource's own and seven hexadecimal digits.

    As Pulumi's bridge does it. A name that was made so before stays; `__defaults` lists them.
    """
    made = {}
    for wire in sorted(_nameable(kind) - set(inputs)):
        if f"{wire}Prefix" in inputs:
            continue
        fresh = f"{NAME_PREFIXES.get(kind.terraform, '')}{name}-{seed.hex()[:HEX_DIGITS]}"
        made[wire] = before[wire] if wire in before.get("__defaults", []) else fresh
    return {**inputs, **made, "__defaults": sorted(made)}


def _nameable(kind: Kind) -> set[str]:
    """Inputs that are optional in the SDK and that the provider needs, or calls a name."""
    wires = {wire: kind.block.attributes.get(kind.name_of(wire) or "") for wire in kind.inputs - kind.required}
    strings = {wire: a for wire, a in wires.items() if a and a.type == "string" and a.settable}
    own = {"name", "bucket"} if kind.terraform == "aws_s3_bucket" else {"name"}
    return {wire for wire, attribute in strings.items() if attribute.required or wire in own}


def blocks_its_successor(kind: Kind, inputs: dict[str, Any], prior: State) -> bool:
    """Whether a new one could not be made beside the old one: the program gave it a name that would be taken twice."""
    given = _nameable(kind) - set(inputs.get("__defaults", []))
    return any(wire in inputs and inputs[wire] == prior.value.get(kind.name_of(wire) or "") for wire in given)


def is_known(value: Any) -> bool:
    """Whether nothing in it is left for an apply."""
    if isinstance(value, dict):
        return all(is_known(item) for item in value.values())
    if isinstance(value, list):
        return all(is_known(item) for item in value)
    return value is not UNKNOWN


def without_marks(inputs: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in inputs.items() if name not in ENGINE_MARKS}
