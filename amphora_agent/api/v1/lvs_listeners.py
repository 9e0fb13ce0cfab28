"""Endpoints of UDP and SCTP listeners; their actions and deletion share the load balancers' paths."""

from __future__ import annotations

from flask import Response, request
from flask.typing import ResponseReturnValue

from amphora_agent.api.v1.identity import amphora_id, listener_id
from amphora_agent.api.v1.loadbalancers import md5
from amphora_agent.core.ids import ListenerId
from amphora_agent.operations import ownership
from amphora_agent.operations.amphora import Amphora
from amphora_agent.operations.keepalived import lvs_listeners


def put_udp_listener(amphora: Amphora, amphora_name: str, listener_name: str) -> ResponseReturnValue:
    """PUT listeners/<amphora>/<listener>/udp_listener: the ETag is that of the bytes received."""
    amphora_id(amphora_name)
    target, body = listener_id(listener_name), request.get_data()
    with amphora.changing() as change:
        ownership.require_controllers_listener(change, target, body)
        lvs_listeners.upload(change, target, body)
    return {"message": "OK"}, {"ETag": md5(body)}


def get_udp_listener(amphora: Amphora, listener_name: str) -> ResponseReturnValue:
    """GET listeners/<listener>/udp_listener."""
    config = lvs_listeners.stored_config(amphora, ListenerId(listener_name))
    return Response(config, content_type="text/plain; charset=UTF-8")
