"""Calls that the client tools know and this version does not answer yet: 501 with one sentence."""

from __future__ import annotations

from typing import NoReturn

from flask import Blueprint

from controlplane.errors import NotBuiltError
from controlplane.web.context import route

blueprint = Blueprint("later", __name__)

KINDS = {
    "pipelines": "Pipelines",
    "tasks": "Tasks",
    "deployments": "Deployments",
    "deployment-versions": "Deployments",
    "notebook-executions": "Notebooks",
    "models": "Models",
    "model-versions": "Models",
    "datasets": "Datasets",
    "dataset-versions": "Datasets",
}
METHODS = ["GET", "POST", "PUT", "DELETE"]


def _add(kind: str, what: str) -> None:
    for rule, suffix in ((f"/api/v0/{kind}/", ""), (f"/api/v0/{kind}/<path:rest>", "_item")):

        def view(rest: str = "") -> NoReturn:
            raise NotBuiltError(f"{what} come in a later version of Remora; this one runs executions.")

        view.__name__ = kind.replace("-", "_") + suffix
        view.__doc__ = f"{what}: not answered by this version."
        route(blueprint, rule, action="later.read", methods=METHODS)(view)


for _kind, _what in KINDS.items():
    _add(_kind, _what)
