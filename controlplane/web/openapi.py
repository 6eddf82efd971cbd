"""The OpenAPI document, made from the routes themselves, so that it can't be wrong about which there are."""

from __future__ import annotations

import inspect
import re
from types import NoneType
from typing import Any, NoReturn, get_args, get_origin, get_type_hints

from flask import Blueprint, Flask, Response, current_app
from pydantic import BaseModel, TypeAdapter
from werkzeug.routing import Rule
from werkzeug.wrappers import Response as BaseResponse

from controlplane.accounts.api import VERSION
from controlplane.permissions import TABLE
from controlplane.web import idempotency
from controlplane.web.context import PUBLIC, Described, route
from controlplane.web.query import QueryField

blueprint = Blueprint("openapi", __name__)
BRACED = re.compile(r"{([^{}]+)}")
ARGUMENT = re.compile(r"<(?:[^:<>]+:)?([^<>]+)>")
REFERENCE = "#/components/schemas/{model}"
SKIPPED = frozenset({"HEAD", "OPTIONS"})

FIELD_ERRORS = {
    "type": "object",
    "description": "Per field, what is wrong with it.",
    "additionalProperties": {
        "type": "array",
        "items": {
            "type": "object",
            "required": ["message", "code"],
            "properties": {"message": {"type": "string"}, "code": {"type": "string"}},
        },
    },
}
PROBLEM = {
    "type": "object",
    "required": ["detail", "message", "code"],
    "properties": {"detail": {"type": "string"}, "message": {"type": "string"}, "code": {"type": "string"}},
}
ANSWERS = {
    "400": ("The request can't be read, or a field of it is wrong.", "FieldErrors"),
    "401": ("Nobody is signed in.", "Problem"),
    "403": ("Known, but not allowed.", "Problem"),
    "404": ("No such thing, or none that you may know of.", "Problem"),
    "409": (
        "The state of things forbids it now, a cap is reached, or the Idempotency-Key is another request's.",
        "Problem",
    ),
    "413": ("The body is too large.", "Problem"),
    "429": ("Above a rate; see Retry-After.", "Problem"),
    "503": ("A part that is needed does not answer now.", "Problem"),
    "501": ("Not answered by this version.", "Problem"),
}


@route(blueprint, "/api/v0/openapi.json", action="api.describe")
def document() -> dict[str, Any]:
    """This document."""
    return describe(current_app)


def describe(app: Flask) -> dict[str, Any]:
    """The document of every route under `/api/`."""
    schemas: dict[str, Any] = {"FieldErrors": FIELD_ERRORS, "Problem": PROBLEM}
    paths: dict[str, dict[str, Any]] = {}
    for rule in sorted(app.url_map.iter_rules(), key=lambda rule: rule.rule):
        if not rule.rule.startswith("/api/"):
            continue
        view = app.view_functions[rule.endpoint]
        for method in sorted((rule.methods or set()) - SKIPPED):
            shown = paths.setdefault(ARGUMENT.sub(r"{\1}", rule.rule), {})
            shown[method.lower()] = _operation(rule, method, view, schemas)
    _link(paths)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Remora", "version": VERSION, "license": {"name": "Apache-2.0"}},
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "token": {"type": "apiKey", "in": "header", "name": "Authorization", "description": "Token …"},
                "session": {"type": "apiKey", "in": "cookie", "name": "remora_session"},
            },
        },
        "security": [{"token": []}, {"session": []}],
    }


def _operation(rule: Rule, method: str, view: Any, schemas: dict[str, Any]) -> dict[str, Any]:
    described: Described = getattr(view, "described", None) or Described()
    action: str = getattr(view, "action", PUBLIC)
    summary, _, more = (inspect.getdoc(view) or "").partition("\n")
    operation: dict[str, Any] = {
        "operationId": f"{rule.endpoint.replace('.', '_')}_{method.lower()}",
        "summary": summary,
        "tags": [rule.rule.split("/")[3] or "api"],
        "parameters": [*_path_parameters(rule), *_query_parameters(described)],
        "responses": _answers(method, view, action, described, schemas),
        "x-action": action,
    }
    if more.strip():
        operation["description"] = more.strip()
    if action == PUBLIC:
        operation["security"] = []
    else:
        operation["x-roles"] = sorted(TABLE[action])
    if method in ("POST", "PUT", "PATCH", "DELETE") and described.body is not None:
        operation["requestBody"] = _body(described, schemas)
    if method == "POST" and action != PUBLIC:
        operation["parameters"].append(
            {
                "name": "Idempotency-Key",
                "in": "header",
                "required": False,
                "schema": {"type": "string", "pattern": idempotency.PATTERN},
                "description": "The same key and body again make nothing new, for 24 hours.",
            }
        )
    return operation


def _link(paths: dict[str, dict[str, Any]]) -> None:
    """Name, beside what each create answers, the calls that take the new thing's id."""
    for path, shown in paths.items():
        success = shown.get("post", {}).get("responses", {}).get("2XX")
        for other, operations in paths.items() if success else ():
            rest = other.removeprefix(path)
            if rest == other or not rest.startswith("{"):
                continue
            given = {name: f"$request.path.{name}" for name in BRACED.findall(path)}
            given[rest[1:].partition("}")[0]] = "$response.body#/id"
            if set(given) != set(BRACED.findall(other)):
                continue
            for operation in operations.values():
                link = {"operationId": operation["operationId"], "parameters": given}
                success.setdefault("links", {})[operation["operationId"]] = link


def _path_parameters(rule: Rule) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in ARGUMENT.findall(rule.rule)
    ]


def _query_parameters(described: Described) -> list[dict[str, Any]]:
    return [
        entry.described(name) if isinstance(entry, QueryField) else _plain(name, entry)
        for name, entry in described.query.items()
    ]


def _plain(name: str, sentence: str) -> dict[str, Any]:
    return {"name": name, "in": "query", "required": False, "description": sentence, "schema": {"type": "string"}}


def _body(described: Described, schemas: dict[str, Any]) -> dict[str, Any]:
    assert described.body is not None
    content = {"application/json": {"schema": _model(described.body, schemas)}}
    if described.form:
        content["application/x-www-form-urlencoded"] = content["application/json"]
    if described.files:
        parts = {name: {"type": "string", "contentMediaType": kind} for name, kind in described.files.items()}
        both = {"allOf": [_model(described.body, schemas), {"type": "object", "properties": parts}]}
        content = {"multipart/form-data": {"schema": {**both, "required": sorted(parts)}}}
    return {"required": True, "content": content}


def _answers(method: str, view: Any, action: str, described: Described, schemas: dict[str, Any]) -> dict[str, Any]:
    hint = described.answer or get_type_hints(inspect.unwrap(view)).get("return", Any)
    codes = {"400", "429", "503", *(str(code) for code in described.statuses)}
    if action != PUBLIC:
        codes |= {"401", "403", "404"}
    if method != "GET":
        codes |= {"409", "413"}
    found: dict[str, Any] = {}
    if hint is NoReturn:
        codes = {"400", "401", "404", "409", "413", "501"}
    else:
        found["2XX"] = _success(hint, schemas)
    for code in sorted(codes):
        sentence, schema = ANSWERS[code]
        reference = {"$ref": REFERENCE.format(model=schema)}
        found[code] = {"description": sentence, "content": {"application/json": {"schema": reference}}}
    return found


def _success(hint: Any, schemas: dict[str, Any]) -> dict[str, Any]:
    if get_origin(hint) is tuple:
        hint = get_args(hint)[0]
    options = [part for part in (get_args(hint) or (hint,)) if isinstance(part, type)]
    if hint in (Any, NoneType) or any(issubclass(part, (Response, BaseResponse)) for part in options):
        return {"description": "Done."}
    schema = TypeAdapter(hint).json_schema(ref_template=REFERENCE)
    schemas.update(schema.pop("$defs", {}))
    return {"description": "Done.", "content": {"application/json": {"schema": schema}}}


def _model(model: type[BaseModel], schemas: dict[str, Any]) -> dict[str, Any]:
    """A reference to the model's schema, which is put among the components."""
    schema = model.model_json_schema(ref_template=REFERENCE)
    schemas.update(schema.pop("$defs", {}))
    schemas[model.__name__] = schema
    return {"$ref": REFERENCE.format(model=model.__name__)}
