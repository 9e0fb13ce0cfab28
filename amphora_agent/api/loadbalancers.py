"""Endpoints of HAProxy load balancers."""

from __future__ import annotations

import hashlib
from http import HTTPStatus

from flask import Response, request
from flask.typing import ResponseReturnValue

from amphora_agent.api.identity import amphora_id, loadbalancer_id
from amphora_agent.core.ids import LoadBalancerId, is_id
from amphora_agent.errors import InvalidRequest
from amphora_agent.operations import loadbalancers
from amphora_agent.operations.amphora import Amphora
from amphora_agent.operations.loadbalancers import Action

# The contract's own spelling.
_DONE = {Action.STOP: "stoped", Action.RELOAD: "reloaded"}


def put_haproxy(amphora: Amphora, amphora_name: str, lb_id: str) -> ResponseReturnValue:
    """PUT loadbalancer/<amphora>/<lb>/haproxy: the ETag is that of the bytes received."""
    body = request.get_data()
    loadbalancers.upload(amphora, amphora_id(amphora_name), loadbalancer_id(lb_id), body)
    return {"message": "OK"}, HTTPStatus.ACCEPTED, {"ETag": md5(body)}


def get_haproxy(amphora: Amphora, lb_id: str) -> ResponseReturnValue:
    """GET loadbalancer/<lb>/haproxy."""
    config = loadbalancers.stored_config(amphora, LoadBalancerId(lb_id))
    return Response(config, headers={"ETag": md5(config)}, content_type="text/plain; charset=UTF-8")


def put_action(amphora: Amphora, object_id: str, action: str) -> ResponseReturnValue:
    """PUT loadbalancer/<id>/<action>; the action is checked before the id."""
    if action.lower() not in tuple(Action):
        raise InvalidRequest("Invalid Request", f"Unknown action: {action.lower()}")
    wanted = Action(action.lower())
    performed = loadbalancers.perform(amphora, loadbalancer_id(object_id), wanted)
    if performed.started or wanted is Action.START:
        text = f"Configuration file is valid\nhaproxy daemon for {object_id} started"
    else:
        text = f"Listener {object_id} {_DONE[wanted]}"
    return {"message": "OK", "details": text}, HTTPStatus.ACCEPTED


def delete_listener(amphora: Amphora, object_id: str) -> ResponseReturnValue:
    """DELETE listeners/<id>: what cannot exist is not there, and that is fine."""
    if is_id(object_id):
        loadbalancers.delete(amphora, LoadBalancerId(object_id))
    return {"message": "OK"}


def md5(data: bytes) -> str:
    """Return the contract's identity of a text: lower-case MD5, unquoted in the ETag."""
    return hashlib.md5(data, usedforsecurity=False).hexdigest()
