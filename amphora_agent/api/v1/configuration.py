"""Endpoint of the agent's own configuration."""

from __future__ import annotations

from http import HTTPStatus

from flask import request
from flask.typing import ResponseReturnValue

from amphora_agent.operations import configuration
from amphora_agent.operations.amphora import Amphora


def put_config(amphora: Amphora) -> ResponseReturnValue:
    """PUT config: the whole file."""
    body = request.get_data()
    with amphora.changing() as change:
        configuration.replace(change, body)
    return {"message": "OK"}, HTTPStatus.ACCEPTED
