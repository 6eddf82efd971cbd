"""Two kinds of requests in one pool of threads: short ones, and viewers of live logs, who stay for long."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment


class Lanes:
    """WSGI: works on at most `threads` requests at once. Viewers are counted where they are passed on, not here.

    A pool of `threads` + `web_streams` threads has one for each of both: neither kind ever waits for the other.
    """

    def __init__(self, app: WSGIApplication, threads: int) -> None:
        self._app = app
        self._places = threading.BoundedSemaphore(threads)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """See PEP 3333. The body is sent after the place was given back."""
        if environ["PATH_INFO"].startswith("/stream/"):
            return self._app(environ, start_response)
        with self._places:
            return self._app(environ, start_response)
