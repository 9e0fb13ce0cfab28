"""The route table, and the one place that knows HTTP statuses and error bodies."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus

from flask import Flask, request
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import HTTPException

from amphora_agent.api.http.framing import MAX_BODY
from amphora_agent.api.v1 import certificates, configuration, info, interfaces, loadbalancers, lvs_listeners, plug, vrrp
from amphora_agent.api.v1.schema import MalformedBody
from amphora_agent.errors import AgentError, Conflict, HostFailure, InvalidRequest, MalformedData, NotFound
from amphora_agent.operations.amphora import Amphora

LOG = logging.getLogger(__name__)

View = Callable[..., ResponseReturnValue]

STATUS: dict[type[AgentError], HTTPStatus] = {
    InvalidRequest: HTTPStatus.BAD_REQUEST,
    NotFound: HTTPStatus.NOT_FOUND,
    Conflict: HTTPStatus.CONFLICT,
    HostFailure: HTTPStatus.INTERNAL_SERVER_ERROR,
    MalformedData: HTTPStatus.INTERNAL_SERVER_ERROR,
}
# The controller takes any other status for success, so every failure is mapped into this set.
ERROR_STATUSES = frozenset({400, 404, 405, 409, 500, 503})


@dataclass(frozen=True, slots=True)
class Route:
    """One line of the table; `view` gets the amphora and the path's parts."""

    method: str
    rule: str
    view: View


ROUTES: tuple[Route, ...] = (
    Route("GET", "/", info.get_api_version),
    Route("GET", "//", info.get_api_version),  # the controller asks so
    Route("GET", "/1.0/info", info.get_info),
    Route("GET", "/1.0/details", info.get_details),
    Route("GET", "/1.0/listeners", info.get_listeners),
    Route("PUT", "/1.0/loadbalancer/<amphora_name>/<lb_id>/haproxy", loadbalancers.put_haproxy),
    Route("GET", "/1.0/loadbalancer/<lb_id>/haproxy", loadbalancers.get_haproxy),
    Route("PUT", "/1.0/loadbalancer/<object_id>/<action>", loadbalancers.put_action),
    Route("DELETE", "/1.0/listeners/<object_id>", loadbalancers.delete_listener),
    Route("PUT", "/1.0/listeners/<amphora_name>/<listener_name>/udp_listener", lvs_listeners.put_udp_listener),
    Route("GET", "/1.0/listeners/<listener_name>/udp_listener", lvs_listeners.get_udp_listener),
    Route("PUT", "/1.0/vrrp/upload", vrrp.put_upload),
    Route("PUT", "/1.0/vrrp/<action>", vrrp.put_action),
    Route("PUT", "/1.0/loadbalancer/<lb_id>/certificates/<filename>", certificates.put_certificate),
    Route("GET", "/1.0/loadbalancer/<lb_id>/certificates/<filename>", certificates.get_certificate),
    Route("DELETE", "/1.0/loadbalancer/<lb_id>/certificates/<filename>", certificates.delete_certificate),
    Route("PUT", "/1.0/certificate", certificates.put_own_certificate),
    Route("PUT", "/1.0/config", configuration.put_config),
    Route("POST", "/1.0/plug/vip/<vip>", plug.post_plug_vip),
    Route("POST", "/1.0/plug/network", plug.post_plug_network),
    Route("GET", "/1.0/interface/<ip>", interfaces.get_interface),
    Route("PUT", "/1.0/interface/<ip>/rules", interfaces.put_rules),
)


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
    app.before_request(take_body)
    app.register_error_handler(AgentError, answer_agent_error)
    app.register_error_handler(HTTPException, answer_http_error)
    app.register_error_handler(OSError, answer_os_error)
    app.register_error_handler(MemoryError, answer_os_error)
    app.register_error_handler(Exception, answer_surprise)
    return app


def take_body() -> None:
    """Take the body off the connection even where no view wants it, or it could not serve another request."""
    request.get_data()


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
    answer = {"error": f"{status.value} {status.phrase}: {error.description}", "http_code": status.value}
    if isinstance(error, MalformedBody) and error.field:
        answer["details"] = error.field
    return answer, status


def answer_os_error(error: OSError | MemoryError) -> ResponseReturnValue:
    """Answer what the kernel refused in a place that expects no refusal: no descriptor, no memory, a broken disk."""
    LOG.error("cannot carry out a request", exc_info=error)
    reason = "no memory" if isinstance(error, MemoryError) else error.strerror or type(error).__name__
    return answer_agent_error(HostFailure("cannot carry out the request", reason))


def answer_surprise(error: Exception) -> ResponseReturnValue:
    """Answer anything unexpected; the details go to the log, not over the wire."""
    LOG.error("cannot answer a request", exc_info=error)
    status = HTTPStatus.INTERNAL_SERVER_ERROR
    text = f"{status.value} {status.phrase}: unexpected {type(error).__name__}, see the agent's log"
    return {"error": text, "http_code": status.value}, status
