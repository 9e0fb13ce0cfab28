"""The route table, and the one place that knows HTTP statuses and error bodies."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus

from flask import Flask
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import HTTPException

from amphora_agent.errors import AgentError, Conflict, HostFailure, InvalidRequest, NotFound
from amphora_agent.operations.amphora import Amphora

LOG = logging.getLogger(__name__)

MAX_BODY = 16 * 1024 * 1024
View = Callable[..., ResponseReturnValue]

STATUS: dict[type[AgentError], HTTPStatus] = {
    InvalidRequest: HTTPStatus.BAD_REQUEST,
    NotFound: HTTPStatus.NOT_FOUND,
    Conflict: HTTPStatus.CONFLICT,
    HostFailure: HTTPStatus.INTERNAL_SERVER_ERROR,
}
# The controller takes any other status for success, so every failure is mapped into this set.
ERROR_STATUSES = frozenset({400, 404, 405, 409, 500, 503})


@dataclass(frozen=True, slots=True)
class Route:
    """One line of the table; `view` gets the amphora and the path's parts."""

    method: str
    rule: str
    view: View


ROUTES: tuple[Route, ...] = ()


def create_app(amphora: Amphora) -> Flask:
    """Return the WSGI application that serves `amphora`."""
    app = Flask("amphora_agent", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY
    app.url_map.merge_slashes = False
    app.url_map.strict_slashes = True
    app.url_map.redirect_defaults = False
    for route in ROUTES:
        view = functools.partial(route.view, amphora)
        app.add_url_rule(
            route.rule,
            endpoint=f"{route.method} {route.rule}",
            view_func=view,
            methods=[route.method],
            provide_automatic_options=False,
        )
    app.register_error_handler(AgentError, answer_agent_error)
    app.register_error_handler(HTTPException, answer_http_error)
    app.register_error_handler(Exception, answer_surprise)
    return app


def answer_agent_error(error: AgentError) -> ResponseReturnValue:
    """Answer an expected failure: `details` is always a string, the controller depends on it."""
    status = STATUS[type(error)]
    if status is HTTPStatus.INTERNAL_SERVER_ERROR:
        LOG.error("%s: %s", error, error.detail)
    return {"message": str(error), "details": error.detail}, status


def answer_http_error(error: HTTPException) -> ResponseReturnValue:
    """Answer what Flask refused by itself, in the contract's generic shape and statuses."""
    code = error.code if error.code in ERROR_STATUSES else HTTPStatus.BAD_REQUEST
    status = HTTPStatus(int(code or HTTPStatus.INTERNAL_SERVER_ERROR))
    return {"error": f"{status.value} {status.phrase}: {error.description}", "http_code": status.value}, status


def answer_surprise(error: Exception) -> ResponseReturnValue:
    """Answer anything unexpected; the details go to the log, not over the wire."""
    LOG.error("cannot answer a request", exc_info=error)
    status = HTTPStatus.INTERNAL_SERVER_ERROR
    text = f"{status.value} {status.phrase}: unexpected {type(error).__name__}, see the agent's log"
    return {"error": text, "http_code": status.value}, status
