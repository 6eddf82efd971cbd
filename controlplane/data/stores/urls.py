"""`/store/…`: signed addresses of folder stores. Public: the signature is the credential."""

from __future__ import annotations

from typing import IO, BinaryIO, cast

from flask import Blueprint, Response, jsonify, request, send_file
from werkzeug.exceptions import ClientDisconnected, RequestedRangeNotSatisfiable, RequestEntityTooLarge

from controlplane.data.stores.base import StoreError
from controlplane.data.stores.folder import CHUNK, FolderStore, check_key
from controlplane.db.ids import is_id
from controlplane.db.session import SYSTEM
from controlplane.web.context import PUBLIC, route, services

blueprint = Blueprint("store", __name__)
STATUS = {
    "not_found": 404,
    "exists": 412,
    "denied": 403,
    "full": 507,
    "unavailable": 503,
    "bad_name": 400,
    "bad_size": 400,
}
WHY = {
    "forged": "The signature is not that of this address.",
    "wrong_method": "The address was signed for another method.",
    "expired": "The address has expired.",
}


@route(blueprint, "/store/<store_id>/<path:key>", action=PUBLIC, methods=["GET", "PUT"])
def object_route(store_id: str, key: str) -> Response:
    """Read or write one object by a signed address."""
    try:
        store = _store(store_id)
        why = store.check(request.method, check_key(key), request.args.to_dict())
        if why:
            return _refuse(403, why, f"{WHY[why]} Ask for a new one.")
        return _put(store, key) if request.method == "PUT" else _get(store, key)
    except StoreError as error:
        return _refuse(STATUS[error.code], error.code, str(error))


def _store(store_id: str) -> FolderStore:
    if not is_id(store_id):
        raise StoreError("not_found", "no such store")
    with services().db.read(SYSTEM) as session:
        store = services().stores.by_id(session, store_id)
    if not isinstance(store, FolderStore):
        raise StoreError("not_found", "this store serves its own addresses")
    return store


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
    try:
        return cast(Response, response.make_conditional(request.environ, accept_ranges=True, complete_length=info.size))
    except RequestedRangeNotSatisfiable:
        response.close()
        refused = _refuse(416, "range", f"The object has {info.size} bytes.")
        refused.headers["Content-Range"] = f"bytes */{info.size}"
        return refused


def _put(store: FolderStore, key: str) -> Response:
    size = int(request.args["size"])
    # The signed size is the cap here, not that of code archives.
    request.max_content_length = size + 1  # one more byte would be seen, and refused as another size
    if request.content_length is not None and request.content_length != size:
        raise StoreError("bad_size", f"{size} bytes were signed, {request.content_length} announced")
    try:
        existing = store.stat(key)
    except StoreError:
        return _store_body(store, key, size)
    _drain(request.stream)
    refused = _refuse(412, "exists", f"The object is there already, with {existing.size} bytes.")
    refused.headers["ETag"] = f'"{existing.etag}"'
    return refused


def _store_body(store: FolderStore, key: str, size: int) -> Response:
    try:
        info = store.put_stream(key, cast(BinaryIO, request.stream), size)
    except (ClientDisconnected, RequestEntityTooLarge) as error:
        raise StoreError("bad_size", f"{size} bytes were signed, another number came") from error
    return Response(status=201, headers={"ETag": f'"{info.etag}"'})


def _drain(stream: IO[bytes]) -> None:
    """Read what the client still sends, so that it gets the answer and no broken connection."""
    try:
        while stream.read(CHUNK):
            pass
    except (ClientDisconnected, RequestEntityTooLarge):
        return


def _refuse(status: int, code: str, message: str) -> Response:
    response = jsonify({"code": code, "message": message})
    response.status_code = status
    return response
