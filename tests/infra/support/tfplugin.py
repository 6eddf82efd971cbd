"""Messages of Terraform's plugin protocol 5, those parts that are used here.

Source: `tfplugin5.proto` of github.com/hashicorp/terraform-plugin-go. Names and field numbers are its own; what is not
listed is skipped on reading. A `oneof` and a map have the same bytes as the plain fields and the entries written here.
"""

from __future__ import annotations

import re
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

PACKAGE = "tfplugin5"
_MESSAGES = {
    "DynamicValue": "bytes msgpack=1; bytes json=2",
    "Step": "string attribute_name=1; string element_key_string=2; int64 element_key_int=3",
    "AttributePath": "repeated Step steps=1",
    "Diagnostic": "int32 severity=1; string summary=2; string detail=3; AttributePath attribute=4",
    "Attribute": "string name=1; bytes type=2; bool required=4; bool optional=5; bool computed=6; bool sensitive=7",
    "NestedBlock": "string type_name=1; Block block=2; int32 nesting=3; int64 min_items=4; int64 max_items=5",
    "Block": "int64 version=1; repeated Attribute attributes=2; repeated NestedBlock block_types=3",
    "Schema": "int64 version=1; Block block=2",
    "SchemaEntry": "string key=1; Schema value=2",
    "SchemasRequest": "",
    "SchemasResponse": "Schema provider=1; repeated SchemaEntry resource_schemas=2; "
    "repeated SchemaEntry data_source_schemas=3; repeated Diagnostic diagnostics=4",
    "PrepareRequest": "DynamicValue config=1",
    "PrepareResponse": "DynamicValue prepared_config=1; repeated Diagnostic diagnostics=2",
    "ConfigureRequest": "string terraform_version=1; DynamicValue config=2",
    "ConfigureResponse": "repeated Diagnostic diagnostics=1",
    "ValidateRequest": "string type_name=1; DynamicValue config=2",
    "ValidateResponse": "repeated Diagnostic diagnostics=1",
    "ReadRequest": "string type_name=1; DynamicValue current_state=2; bytes private=3",
    "ReadResponse": "DynamicValue new_state=1; repeated Diagnostic diagnostics=2; bytes private=3",
    "PlanRequest": "string type_name=1; DynamicValue prior_state=2; DynamicValue proposed_new_state=3; "
    "DynamicValue config=4; bytes prior_private=5",
    "PlanResponse": "DynamicValue planned_state=1; repeated AttributePath requires_replace=2; bytes planned_private=3; "
    "repeated Diagnostic diagnostics=4",
    "ApplyRequest": "string type_name=1; DynamicValue prior_state=2; DynamicValue planned_state=3; "
    "DynamicValue config=4; bytes planned_private=5",
    "ApplyResponse": "DynamicValue new_state=1; bytes private=2; repeated Diagnostic diagnostics=3",
    "ImportRequest": "string type_name=1; string id=2",
    "ImportedResource": "string type_name=1; DynamicValue state=2; bytes private=3",
    "ImportResponse": "repeated ImportedResource imported_resources=1; repeated Diagnostic diagnostics=2",
    "DataRequest": "string type_name=1; DynamicValue config=2",
    "DataResponse": "DynamicValue state=1; repeated Diagnostic diagnostics=2",
}
_FIELD = re.compile(r"(repeated )?(\w+) (\w+)=(\d+)")
_Field = descriptor_pb2.FieldDescriptorProto
_SCALARS = {
    "bytes": _Field.TYPE_BYTES,
    "string": _Field.TYPE_STRING,
    "bool": _Field.TYPE_BOOL,
    "int32": _Field.TYPE_INT32,
    "int64": _Field.TYPE_INT64,
}


def _classes() -> dict[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(name=f"{PACKAGE}.proto", package=PACKAGE, syntax="proto3")
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for repeated, kind, field_name, number in _FIELD.findall(fields):
            field = message.field.add(name=field_name, number=int(number))
            field.label = _Field.LABEL_REPEATED if repeated else _Field.LABEL_OPTIONAL
            field.type = _SCALARS.get(kind, _Field.TYPE_MESSAGE)
            if kind not in _SCALARS:
                field.type_name = f".{PACKAGE}.{kind}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {n: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{PACKAGE}.{n}")) for n in _MESSAGES}


MESSAGES = _classes()
# The procedures of the service `Provider`: what is asked, what is answered.
PROCEDURES = {
    "GetSchema": "Schemas",
    "PrepareProviderConfig": "Prepare",
    "Configure": "Configure",
    "ValidateResourceTypeConfig": "Validate",
    "ValidateDataSourceConfig": "Validate",
    "ReadResource": "Read",
    "PlanResourceChange": "Plan",
    "ApplyResourceChange": "Apply",
    "ImportResourceState": "Import",
    "ReadDataSource": "Data",
}
