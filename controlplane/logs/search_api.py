"""`/api/v1/executions/KEY/log-search/`."""

from __future__ import annotations

from typing import Any

from flask import Blueprint

from controlplane.logs.lines import STREAMS
from controlplane.logs.search import MAX_PATTERN, LogSearch, matcher, parse_cursor
from controlplane.web import query
from controlplane.web.context import current_actor, request_session, route, services

blueprint = Blueprint("log_search_api", __name__, url_prefix="/api/v1/executions")
MAX_MATCHES = 1_000
FIELDS = {
    "q": query.text("What to look for.", MAX_PATTERN, required=True),
    "regex": query.flag("`q` is a regular expression of RE2; else it is looked for as it is."),
    "any_case": query.flag("Large and small letters are the same."),
    "stream": query.choice("Only lines of these streams.", tuple(sorted(STREAMS)), many=True),
    "limit": query.whole("At most so many lines.", 1, MAX_MATCHES, 100),
    "cursor": query.text("`cursor` of the answer before, to go on.", 40),
}


@route(blueprint, "/<key>/log-search/", action="execution.read", query=FIELDS)
def search(key: str) -> dict[str, Any]:
    """Lines of the whole log that match, the oldest first.

    One call reads a bounded piece: `read_lines` and `read_bytes` say how much that was, and while `cursor` is not
    null there is more to read, from there on. A log that still grows can be asked again from its last line.
    """
    given, session = query.read(FIELDS), request_session()
    execution = services().executions.get(session, current_actor(), key)
    match = matcher(given["q"], regex=bool(given["regex"]), any_case=bool(given["any_case"]))
    after = parse_cursor(given["cursor"])
    attempts = services().executions.attempts(session, execution)
    found = LogSearch(services().logs).run(session, attempts, match, after, given["limit"], given["stream"])
    return {
        "lines": found.lines,
        "read_lines": found.read_lines,
        "read_bytes": found.read_bytes,
        "cursor": found.cursor,
    }
