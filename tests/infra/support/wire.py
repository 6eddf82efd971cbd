"""Values as Pulumi's engine sends and takes them: protobuf's Struct with marks for secrets, unknowns and assets."""

from __future__ import annotations

from typing import Any

from google.protobuf import struct_pb2
from pulumi.runtime import rpc

from support.values import UNKNOWN


class UnsupportedError(Exception):
    """A value that this provider cannot take."""


class Secret:
    """A value that the engine keeps encrypted."""

    def __init__(self, value: Any):
        self.value = value


def from_struct(message: struct_pb2.Struct) -> dict[str, Any]:
    """Plain values; unknown ones as UNKNOWN. Raises UnsupportedError for archives that are no file."""
    return {name: _from_value(value) for name, value in message.fields.items()}


def _from_value(message: struct_pb2.Value) -> Any:
    which = message.WhichOneof("kind")
    if which == "string_value":
        return UNKNOWN if message.string_value == rpc.UNKNOWN else message.string_value
    if which == "number_value":
        number = message.number_value
        return int(number) if number.is_integer() else number
    if which == "bool_value":
        return message.bool_value
    if which == "list_value":
        return [_from_value(item) for item in message.list_value.values]
    return _from_object(message.struct_value) if which == "struct_value" else None


def _from_object(message: struct_pb2.Struct) -> Any:
    mark = message.fields[rpc._special_sig_key].string_value if rpc._special_sig_key in message.fields else ""
    if not mark:
        return from_struct(message)
    if mark == rpc._special_secret_sig:
        return _from_value(message.fields["value"])
    if mark in (rpc._special_asset_sig, rpc._special_archive_sig) and message.fields["path"].string_value:
        return message.fields["path"].string_value
    raise UnsupportedError("only files are taken as assets and archives here, not texts, addresses or lists of them")


def to_struct(values: dict[str, Any]) -> struct_pb2.Struct:
    return struct_pb2.Struct(fields={name: _to_value(value) for name, value in values.items()})


def _to_value(value: Any) -> struct_pb2.Value:
    if value is UNKNOWN:
        return struct_pb2.Value(string_value=rpc.UNKNOWN)
    if isinstance(value, Secret):
        return _to_value({rpc._special_sig_key: rpc._special_secret_sig, "value": value.value})
    if value is None:
        return struct_pb2.Value(null_value=struct_pb2.NULL_VALUE)
    if isinstance(value, bool):
        return struct_pb2.Value(bool_value=value)
    if isinstance(value, int | float):
        return struct_pb2.Value(number_value=value)
    if isinstance(value, str):
        return struct_pb2.Value(string_value=value)
    if isinstance(value, list):
        return struct_pb2.Value(list_value=struct_pb2.ListValue(values=[_to_value(item) for item in value]))
    return struct_pb2.Value(struct_value=to_struct(value))
