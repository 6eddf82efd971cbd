"""Between the SDK's properties and Terraform's values."""

from __future__ import annotations

from typing import Any

from support.sdk import Kind, camel, element_of, is_list, nested_properties, terraform_name
from support.values import UNKNOWN, Attribute, Block, Nested

# The engine's own marks in inputs, which are no properties.
ENGINE_MARKS = ("__defaults", "__internal")


class PropertyError(Exception):
    """A property that the provider does not have."""

    def __init__(self, path: str, text: str):
        super().__init__(f"{text}: {path}")
        self.path = path


def to_config(block: Block, inputs: dict[str, Any], kind: str = "", path: str = "") -> dict[str, Any]:
    """A configuration from the SDK's inputs. Raises PropertyError."""
    config: dict[str, Any] = {}
    for wire, value in inputs.items():
        if wire in ENGINE_MARKS or value is None:
            continue
        where = f"{path}.{wire}" if path else wire
        name = terraform_name(block, wire, kind)
        if name is None:
            raise PropertyError(where, f"the Terraform provider's {kind or 'block'} has no such property")
        config[name] = _value_in(block.attributes.get(name) or block.blocks[name], value, where)
    return config


def _value_in(spec: Attribute | Nested, value: Any, path: str) -> Any:
    if value is UNKNOWN:
        return value
    inner = spec.block if isinstance(spec, Nested) else spec.element
    if spec.is_sequence:
        items = value if isinstance(value, list) else [value]
        return [_item_in(inner, item, f"{path}[{index}]") for index, item in enumerate(items)]
    return _item_in(inner, value, path)


def _item_in(inner: Block | None, item: Any, path: str) -> Any:
    return to_config(inner, item, path=path) if inner and isinstance(item, dict) else item


def to_outputs(kind: Kind, state: dict[str, Any], region: str) -> dict[str, Any]:
    """The SDK's outputs of a state. Properties that are null, or that the provider does not have, are left out."""
    outputs = _outputs(kind.block, state, kind.properties, kind.terraform)
    # Since version 6 the provider tells the region of everything; before, it is that of its configuration.
    if "region" in kind.properties and "region" not in kind.block.attributes:
        outputs["region"] = region
    return outputs


def _outputs(block: Block, state: dict[str, Any], properties: dict[str, Any], kind: str = "") -> dict[str, Any]:
    outputs = {}
    for wire, annotation in properties.items():
        name = terraform_name(block, wire, kind)
        if name is None or state.get(name) is None:
            continue
        value = _value_out(block.attributes.get(name) or block.blocks[name], state[name], annotation)
        if value is not None:
            outputs[wire] = value
    return outputs


def _value_out(spec: Attribute | Nested, value: Any, annotation: Any) -> Any:
    if value is UNKNOWN:
        return value
    inner = spec.block if isinstance(spec, Nested) else spec.element
    if not spec.is_sequence:
        return _item_out(inner, value, annotation)
    items = [_item_out(inner, item, element_of(annotation)) for item in value]
    if is_list(annotation):
        return items
    return items[0] if items else None


def _item_out(inner: Block | None, item: Any, annotation: Any) -> Any:
    if inner is None or not isinstance(item, dict):
        return item
    return _outputs(inner, item, nested_properties(annotation) or _guess(inner))


def _guess(block: Block) -> dict[str, Any]:
    return {camel(name): list[Any] for name in [*block.attributes, *block.blocks]}


def refreshed(inputs: Any, outputs: Any) -> Any:
    """The inputs of a resource as they would be written for what stands now: the same properties, today's values."""
    if isinstance(inputs, dict) and isinstance(outputs, dict):
        return {
            name: value if name in ENGINE_MARKS else refreshed(value, outputs.get(name))
            for name, value in inputs.items()
        }
    if isinstance(inputs, list) and isinstance(outputs, list) and len(inputs) == len(outputs):
        return [refreshed(old, new) for old, new in zip(inputs, outputs, strict=True)]
    same = str(inputs).lower() == str(outputs).lower()
    return inputs if same or outputs is None else outputs


def adopted(kind: Kind, outputs: dict[str, Any]) -> dict[str, Any]:
    """Inputs for a resource that somebody else made: all that can be set and has a value."""
    found = {}
    for wire, value in outputs.items():
        name = kind.name_of(wire)
        attribute = kind.block.attributes.get(name or "")
        can_be_set = attribute.settable if attribute else name in kind.block.blocks
        if wire in kind.inputs and can_be_set and value not in ("", [], {}, False, None):
            found[wire] = value
    return found
