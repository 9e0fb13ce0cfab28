"""Which of the two APIs a request is for, by the beginning of its path."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import TYPE_CHECKING

from amphora_agent.api.app import create_app
from amphora_agent.operations.amphora import Amphora

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

API_2 = "/2.0/"


class Dispatcher:
    """The WSGI application of the agent: API 1.0 at once, API 2.0 from its first request on."""

    def __init__(self, amphora: Amphora) -> None:
        self._amphora = amphora
        self._api_1: WSGIApplication = create_app(amphora)
        self._api_2: WSGIApplication | None = None
        self._lock = threading.Lock()

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Serve one request."""
        is_second = str(environ.get("PATH_INFO", "")).startswith(API_2)
        return (self._second() if is_second else self._api_1)(environ, start_response)

    def _second(self) -> WSGIApplication:
        with self._lock:
            if self._api_2 is None:
                self._api_2 = _create_second(self._amphora)
            return self._api_2


def _create_second(amphora: Amphora) -> WSGIApplication:
    from amphora_agent.api.v2 import app  # noqa: PLC0415 - msgspec and all that hangs on it

    return app.create_app(amphora)
