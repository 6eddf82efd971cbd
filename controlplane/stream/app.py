"""The ASGI application of the `stream` process: checks host and ticket, then sends events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, asynccontextmanager

import structlog
from sqlalchemy.exc import SQLAlchemyError
from starlette.applications import Starlette
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from controlplane.security.http import CONTENT_SECURITY_POLICY, ONLY_HTTPS, STRICT, allowed_hosts, host_name
from controlplane.settings import Settings
from controlplane.stream.events import read_position
from controlplane.stream.hub import Hub
from controlplane.stream.tickets import SCHEME, Tickets
from controlplane.stream.viewer import Viewer

log = structlog.get_logger()
ANY_HOST = frozenset({"/healthz"})
CODES = {400: "unknown_host", 401: "not_authenticated", 404: "not_found", 405: "method_not_allowed"}


def create_app(settings: Settings, tickets: Tickets, hub: Hub) -> ASGIApp:
    """Serves `GET /stream/executions/ID/log`; `/healthz` says that the process answers."""

    async def follow(request: Request) -> Response:
        execution = request.path_params["execution"]
        scheme, _, text = request.headers.get("Authorization", "").partition(" ")
        ticket = tickets.open(text.strip(), execution) if scheme.lower() == SCHEME.lower() else None
        if ticket is None:
            raise HTTPException(401, "This ticket is not for this log, or has ended; ask for another one.")
        if hub.ending or hub.viewers >= settings.stream_viewers:
            raise HTTPException(503, "There are too many viewers now; try again in a few seconds.")
        try:
            now = await hub.run(hub.sources.find, ticket)
        except SQLAlchemyError as error:
            raise HTTPException(503, "The database does not answer now; try again in a few seconds.") from error
        if now is None:
            raise HTTPException(404, "Not found.")
        wanted = read_position(request.headers.get("Last-Event-ID", ""))
        return EventStream(lambda: Viewer(hub, execution, now, wanted), settings.stream_stall_timeout)

    async def health(request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncGenerator[None]:
        hub.start()
        yield
        await hub.close()

    routes = [Route("/stream/executions/{execution}/log", follow, methods=["GET"]), Route("/healthz", health)]
    app = Starlette(routes=routes, lifespan=lifespan, exception_handlers={HTTPException: _refuse})
    return Guard(app, settings)


class EventStream(Response):
    """Sends what a viewer is to see. One who takes nothing for `stall` seconds is closed."""

    media_type = "text/event-stream"

    def __init__(self, enter: Callable[[], Viewer], stall: float) -> None:
        super().__init__(headers={"X-Accel-Buffering": "no"})
        del self.headers["Content-Length"]
        self._enter = enter
        self._stall = stall

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See the ASGI specification."""
        viewer = self._enter()
        leaving = asyncio.create_task(_notice_leaving(receive, viewer))
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            async with aclosing(viewer.events()) as events:
                async for data in events:
                    async with asyncio.timeout(self._stall):
                        await send({"type": "http.response.body", "body": data, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
        except TimeoutError:
            # Without an end of the response the server cuts the connection.
            log.info("stream_viewer_stalled")
        finally:
            leaving.cancel()
            viewer.leave()


class Guard:
    """Refuses other hosts, and puts the strict headers on every answer."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._allowed = allowed_hosts(settings)
        self._headers = {**STRICT, "Content-Security-Policy": CONTENT_SECURITY_POLICY, "Cache-Control": "no-store"}
        if settings.public_url.startswith("https"):
            self._headers["Strict-Transport-Security"] = ONLY_HTTPS

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See the ASGI specification."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def secured(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(self._headers)
            await send(message)

        host = Headers(scope=scope).get("host", "")
        if scope["path"] in ANY_HOST or host_name(f"//{host}") in self._allowed:
            await self._app(scope, receive, secured)
            return
        refusal = HTTPException(400, f"This server does not answer to {host[:100]!r}.")
        await _answer(refusal)(scope, receive, secured)


async def _refuse(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _answer(error)


def _answer(error: HTTPException) -> Response:
    code = CODES.get(error.status_code, "unavailable")
    body = {"detail": error.detail, "message": error.detail, "code": code}
    headers = dict(error.headers or {})
    if error.status_code == 401:
        headers["WWW-Authenticate"] = SCHEME
    if error.status_code == 503:
        headers["Retry-After"] = "5"
    return JSONResponse(body, error.status_code, headers)


async def _notice_leaving(receive: Receive, viewer: Viewer) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    viewer.go()
