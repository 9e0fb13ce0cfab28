"""Endpoints of HAProxy load balancers."""

from __future__ import annotations

import hashlib
from http import HTTPStatus

from flask import Response, request
from flask.typing import ResponseReturnValue

from amphora_agent.api.v1.identity import amphora_id, loadbalancer_id
from amphora_agent.core.haproxy.config import peer_name
from amphora_agent.core.ids import ListenerId, LoadBalancerId, is_id
from amphora_agent.errors import InvalidRequest
from amphora_agent.operations import ownership
from amphora_agent.operations.actions import Action
from amphora_agent.operations.amphora import Amphora, Change
from amphora_agent.operations.haproxy import follow, store
from amphora_agent.operations.haproxy.instance import exists, stored_config
from amphora_agent.operations.keepalived import lvs_listeners

# Bytes; 30,000 members fit. HAProxy itself would take minutes and gigabytes for more.
MAX_CONFIG = 8 * 1024 * 1024
# The contract's own spelling.
_DONE = {Action.STOP: "stoped", Action.RELOAD: "reloaded"}
_LVS_DONE = {Action.START: "started", Action.STOP: "stoped", Action.RELOAD: "restarted"}


def put_haproxy(amphora: Amphora, amphora_name: str, lb_id: str) -> ResponseReturnValue:
    """PUT loadbalancer/<amphora>/<lb>/haproxy: the ETag is that of the bytes received."""
    sender, target, body = amphora_id(amphora_name), loadbalancer_id(lb_id), request.get_data()
    if len(body) > MAX_CONFIG:
        raise InvalidRequest("Invalid request", f"the configuration is larger than {MAX_CONFIG} bytes")
    with amphora.changing() as change:
        ownership.require_controllers(change, target)
        store.upload(change, peer_name(sender), target, body)
    return {"message": "OK"}, HTTPStatus.ACCEPTED, {"ETag": md5(body)}


def get_haproxy(amphora: Amphora, lb_id: str) -> ResponseReturnValue:
    """GET loadbalancer/<lb>/haproxy."""
    config = stored_config(amphora, LoadBalancerId(lb_id))
    return Response(config, headers={"ETag": md5(config)}, content_type="text/plain; charset=UTF-8")


def put_action(amphora: Amphora, object_id: str, action: str) -> ResponseReturnValue:
    """PUT loadbalancer/<id>/<action>; the action is checked before the id."""
    if action.lower() not in tuple(Action):
        raise InvalidRequest("Invalid Request", f"Unknown action: {action.lower()}")
    wanted = Action(action.lower())
    lb_id = loadbalancer_id(object_id)
    with amphora.changing() as change:
        ownership.require_controllers(change, lb_id)
        text = _perform(change, lb_id, wanted)
    return {"message": "OK", "details": text}, HTTPStatus.ACCEPTED


def _perform(change: Change, lb_id: LoadBalancerId, wanted: Action) -> str:
    """Act on the load balancer, or on the LVS listener of that id, and return the contract's words for it."""
    if not exists(change, lb_id) and lvs_listeners.exists(change, ListenerId(lb_id)):
        lvs_listeners.perform(change, ListenerId(lb_id), wanted)
        return f"keepalivedlvs listener {lb_id} {_LVS_DONE[wanted]}"
    performed = follow.perform(change, lb_id, wanted)
    if performed.started or wanted is Action.START:
        return f"Configuration file is valid\nhaproxy daemon for {lb_id} started"
    return f"Listener {lb_id} {_DONE[wanted]}"


def delete_listener(amphora: Amphora, object_id: str) -> ResponseReturnValue:
    """DELETE listeners/<id>: what cannot exist is not there, and that is fine."""
    if not is_id(object_id):
        return {"message": "OK"}
    with amphora.changing() as change:
        ownership.require_controllers(change, LoadBalancerId(object_id))
        if not exists(change, LoadBalancerId(object_id)):
            lvs_listeners.delete(change, ListenerId(object_id))
        store.delete(change, LoadBalancerId(object_id))
    return {"message": "OK"}


def md5(data: bytes) -> str:
    """Return the contract's identity of a text: lower-case MD5, unquoted in the ETag."""
    return hashlib.md5(data, usedforsecurity=False).hexdigest()
