"""The OpenAPI document tells of every route, and of nothing else."""

from __future__ import annotations

import re

from fixtures.web import World


def test_every_route_with_its_methods_and_arguments(world: World) -> None:
    document = world.client("ped").get("/api/v0/openapi.json").json
    for rule in world.app.url_map.iter_rules():
        if not rule.rule.startswith("/api/"):
            continue
        path = document["paths"][re.sub(r"<(?:[^:>]+:)?([^>]+)>", r"{\1}", rule.rule)]
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}:
            operation = path[method.lower()]
            assert operation["summary"]
            assert {p["name"] for p in operation["parameters"] if p["in"] == "path"} == set(rule.arguments)
            assert operation["responses"]


def test_references_are_there_and_ids_stand_once(world: World) -> None:
    text = world.client("ped").get("/api/v0/openapi.json").text
    document = world.client("ped").get("/api/v0/openapi.json").json
    for name in re.findall(r'"#/components/schemas/([^"]+)"', text):
        assert name in document["components"]["schemas"], name
    ids = [operation["operationId"] for path in document["paths"].values() for operation in path.values()]
    assert len(ids) == len(set(ids))


def test_bodies_name_their_fields(world: World) -> None:
    document = world.client("ped").get("/api/v0/openapi.json").json
    body = document["paths"]["/api/v0/projects/"]["post"]["requestBody"]["content"]
    assert set(body) == {"application/json", "application/x-www-form-urlencoded"}
    assert "name" in document["components"]["schemas"]["NewProject"]["properties"]
    upload = document["paths"]["/api/v0/projects/{project_id}/import-package/"]["post"]["requestBody"]["content"]
    assert set(upload) == {"multipart/form-data"}


def test_document_needs_a_login(world: World) -> None:
    assert world.client().get("/api/v0/openapi.json").status_code == 401
