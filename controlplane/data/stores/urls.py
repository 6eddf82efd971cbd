"""`/store/…`: signed addresses of folder stores. Public: the signature is the credential."""

from __future__ import annotations

from typing import cast

from flask import Blueprint, Response, request, send_file

from controlplane.data.stores.base import StoreError
from controlplane.data.stores.folder import FolderStore, check_key
from controlplane.db.ids import is_id
from controlplane.db.session import SYSTEM
from controlplane.web.context import PUBLIC, route, services

blueprint = Blueprint("store", __name__)
STATUS = {"not_found": 404, "exists": 412, "denied": 403, "full": 507, "unavailable": 503, "bad_name": 400}


@route(blueprint, "/store/<store_id>/<path:key>", action=PUBLIC, methods=["GET", "PUT"])
def object_route(store_id: str, key: str) -> Response:
    """Read or write one object by a signed address."""
    try:
        store = _store(store_id)
        method = "GET" if request.method == "HEAD" else request.method
        why = store.check(method, check_key(key), request.args.to_dict())
        if why:
            return _refuse(403, why, f"This address is {why}; ask for a new one.")
        return _get(store, key) if method == "GET" else _put(store, key)
    except StoreError as error:
        return _refuse(STATUS[error.code], error.code, str(error))


def _store(store_id: str) -> FolderStore:
    if not is_id(store_id):
        raise StoreError("not_found", "no such store")
    with services().db.read(SYSTEM) as session:
        return cast(FolderStore, services().stores.by_id(session, store_id))


def _get(store: FolderStore, key: str) -> Response:
    info = store.stat(key)
    response = send_file(
        store.open(key),
        mimetype="application/octet-stream",
        as_attachment=True,
        download_name=request.args.get("name") or "download",
        etag=info.etag,
        last_modified=info.modified,
        conditional=False,
    )
    response.headers["Content-Security-Policy"] = "sandbox; default-src 'none'"
    response.headers["Content-Length"] = str(info.size)
    return cast(Response, response.make_conditional(request.environ, accept_ranges=True, complete_length=info.size))


def _put(store: FolderStore, key: str) -> Response:
    size = int(request.args["size"])
    if request.content_length is not None and request.content_length != size:
        return _refuse(400, "size", f"{size} bytes were signed, {request.content_length} announced.")
    info = store.put_stream(key, request.stream, size)  # type: ignore[arg-type]
    return Response(status=201, headers={"ETag": f'"{info.etag}"'})


def _refuse(status: int, code: str, message: str) -> Response:
    return Response(f'{{"code": "{code}", "message": "{message}"}}', status=status, mimetype="application/json")
