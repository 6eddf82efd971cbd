"""Writes docs/reference/limits.md from the code; with `--check` only says whether it is up to date."""

from __future__ import annotations

import sys

from controlplane.commits import config
from controlplane.executions import events, parameters, request
from controlplane.limits import LIMITS, METADATA_KEYS, OUTPUTS, POINTS, Limit
from controlplane.logs import search
from controlplane.projects.service import MAX_VALUE
from controlplane.settings import Settings
from controlplane.web import body, paging, query
from generated import keep

HEAD = """\
# Limits

Everything that people can grow has a cap, so that one of them can't fill the control plane for all others. Above a cap
the answer is `409` with the code `limit_reached` and one sentence: what is full, and what to do.

This page is generated from `controlplane/limits.py` and the modules named here."""
SET = """\
## Numbers that can be set

`REMORA_LIMITS` puts other numbers in their place, as JSON: `REMORA_LIMITS='{"projects": 50, "comments": 100}'`.

| name | at most | of what | in | when it is full |
| --- | --- | --- | --- | --- |"""
WORKERS = """\
## What workers send

What is above is left out, and an event of the execution says so once.

| name | at most | of what | in | remedy |
| --- | --- | --- | --- | --- |"""
FIXED = """\
## Sizes of requests

Above these the request is refused with `400` (or `413` for a whole body), and the field is named.

| what | at most |
| --- | --- |"""
SETTINGS = """\
## Settings

| setting | default | what |
| --- | --- | --- |"""
SETTING_NAMES = ("max_package_bytes", "max_yaml_bytes", "max_request_bytes", "max_queued_per_project")


def render() -> str:
    """The page."""
    parts = [
        HEAD,
        "\n".join([SET, *(_row(limit) for limit in LIMITS.values())]),
        "\n".join([WORKERS, *(_row(limit) for limit in (POINTS, OUTPUTS, METADATA_KEYS))]),
        "\n".join([FIXED, *(f"| {what} | {most:,} |" for what, most in _fixed().items())]),
        "\n".join([SETTINGS, *(_setting(name) for name in SETTING_NAMES)]),
    ]
    return "\n\n".join(parts) + "\n"


def _row(limit: Limit) -> str:
    return f"| `{limit.name}` | {limit.most:,} | {limit.what} | {limit.where} | {limit.remedy} |"


def _fixed() -> dict[str, int]:
    return {
        "rows of a page of a list (`limit`)": paging.MAX_LIMIT,
        "times that one field stands in a query": query.MAX_REPEATED,
        "depth of a JSON body": body.MAX_DEPTH,
        "tags of an execution": request.MAX_TAGS,
        "characters of a title or tag": 255,
        "addresses of an input": request.MAX_URIS,
        "characters of an address": request.MAX_URI,
        "environment variables of an execution": request.MAX_VARIABLES,
        "groups of variables that an execution names": request.MAX_GROUPS,
        "characters of a variable's value": MAX_VALUE,
        "values of a parameter": parameters.MAX_VALUES,
        "characters of a parameter's value": parameters.MAX_TEXT,
        "bytes of a command with its parameters": request.MAX_COMMAND_BYTES,
        "seconds of a time limit": request.MAX_SECONDS,
        "depth of valohai.yaml": config.MAX_DEPTH,
        "values in valohai.yaml": config.MAX_NODES,
        "aliases in valohai.yaml": config.MAX_ALIASES,
        "bytes of a metadata point": events.MAX_POINT_BYTES,
        "bytes of an output's own metadata": events.MAX_METADATA_BYTES,
        "characters of an output's name": events.MAX_NAME,
        "characters of a search in a log": search.MAX_PATTERN,
        "lines that one call of a log search reads": search.MAX_LINES,
        "bytes that one call of a log search reads": search.MAX_BYTES,
    }


def _setting(name: str) -> str:
    field = Settings.model_fields[name]
    return f"| `REMORA_{name.upper()}` | {field.default:,} | {field.description} |"


if __name__ == "__main__":
    sys.exit(keep("limits.md", render(), "gen_limits.py"))
