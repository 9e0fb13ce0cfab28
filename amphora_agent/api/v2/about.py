"""Endpoints about the agent itself."""

from __future__ import annotations

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
