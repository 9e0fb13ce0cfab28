"""Endpoints of HAProxy load balancers."""

from __future__ import annotations

import hashlib
from http import HTTPStatus

from flask import Response, request
from flask.typing import ResponseReturnValue

from amphora_agent.api.v1.identity import amphora_id, loadbalancer_id
from amphora_agent.core.ids import ListenerId, LoadBalancerId, is_id
from amphora_agent.errors import InvalidRequest
from amphora_agent.operations.actions import Action
from amphora_agent.operations.amphora import Amphora
from amphora_agent.operations.haproxy import loadbalancers
from amphora_agent.operations.keepalived import lvs_listeners

# The contract's own spelling.
_DONE = {Action.STOP: "stoped", Action.RELOAD: "reloaded"}
_LVS_DONE = {Action.START: "started", Action.STOP: "stoped", Action.RELOAD: "restarted"}


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
    lb_id = loadbalancer_id(object_id)
    if not loadbalancers.exists(amphora, lb_id) and lvs_listeners.exists(amphora, ListenerId(object_id)):
        lvs_listeners.perform(amphora, ListenerId(object_id), wanted)
        text = f"keepalivedlvs listener {object_id} {_LVS_DONE[wanted]}"
        return {"message": "OK", "details": text}, HTTPStatus.ACCEPTED
    performed = loadbalancers.perform(amphora, lb_id, wanted)
    if performed.started or wanted is Action.START:
        text = f"Configuration file is valid\nhaproxy daemon for {object_id} started"
    else:
        text = f"Listener {object_id} {_DONE[wanted]}"
    return {"message": "OK", "details": text}, HTTPStatus.ACCEPTED


def delete_listener(amphora: Amphora, object_id: str) -> ResponseReturnValue:
    """DELETE listeners/<id>: what cannot exist is not there, and that is fine."""
    if not is_id(object_id):
        return {"message": "OK"}
    if not loadbalancers.exists(amphora, LoadBalancerId(object_id)):
        lvs_listeners.delete(amphora, ListenerId(object_id))
    loadbalancers.delete(amphora, LoadBalancerId(object_id))
    return {"message": "OK"}


def md5(data: bytes) -> str:
    """Return the contract's identity of a text: lower-case MD5, unquoted in the ETag."""
    return hashlib.md5(data, usedforsecurity=False).hexdigest()
