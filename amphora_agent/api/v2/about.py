"""Endpoints about the agent itself."""

from __future__ import annotations

from importlib import resources

from flask import Response

from amphora_agent.api.v2 import answers, shape
from amphora_agent.host import packages
from amphora_agent.operations import info
from amphora_agent.operations.amphora import Amphora


def get_health(amphora: Amphora) -> Response:
    """Say that requests are served."""
    del amphora
    return shape.json(answers.Health(status="ok"))


def get_version(amphora: Amphora) -> Response:
    """Return the versions of the agent and of the programs it drives."""
    found = info.versions(amphora)
    return shape.json(
        answers.Versions(
            agent=packages.own_version(),
            api=("1.0", "2.0"),
            haproxy=found.haproxy_version,
            keepalived=found.keepalived_version,
        )
    )


def get_openapi(amphora: Amphora) -> Response:
    """Return the description of both APIs, which is made of their types when the agent is built."""
    del amphora
    text = resources.files("amphora_agent.api.v2").joinpath("openapi.json").read_bytes()
    return Response(text, content_type="application/json")
