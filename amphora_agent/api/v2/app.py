"""The application of API 2.0, made at its first request: amphorae that never see one do not pay for it."""

from __future__ import annotations

import functools

from flask import Flask

from amphora_agent.api.app import take_body
from amphora_agent.api.http.framing import MAX_BODY
from amphora_agent.api.v2 import asked, problems
from amphora_agent.api.v2.routes import ROUTES, Route
from amphora_agent.operations.amphora import Amphora


def create_app(amphora: Amphora) -> Flask:
    """Return the WSGI application that serves what is below `/2.0`."""
    app = Flask("amphora_agent.api.v2", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY
    app.url_map.merge_slashes = False
    app.url_map.strict_slashes = True
    app.url_map.redirect_defaults = False
    for route in ROUTES:
        app.add_url_rule(
            route.rule,
            endpoint=_endpoint(route),
            view_func=functools.partial(route.view, amphora),
            methods=[route.method],
            provide_automatic_options=False,
        )
    app.before_request(take_body)
    app.before_request(asked.require_utf_8)
    app.before_request(functools.partial(asked.require_known_query, {_endpoint(each): each.query for each in ROUTES}))
    problems.register(app)
    return app


def _endpoint(route: Route) -> str:
    return f"{route.method} {route.rule}"
