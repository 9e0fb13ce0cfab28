"""Endpoints of VRRP."""

from __future__ import annotations

from http import HTTPStatus

from flask import request
from flask.typing import ResponseReturnValue

from amphora_agent.api.v1.loadbalancers import md5
from amphora_agent.errors import InvalidRequest
from amphora_agent.operations import ownership
from amphora_agent.operations.actions import Action
from amphora_agent.operations.amphora import Amphora
from amphora_agent.operations.keepalived import vrrp

# The contract's own spelling.
_DONE = {Action.START: "started", Action.STOP: "stoped", Action.RELOAD: "reloaded"}


def put_upload(amphora: Amphora) -> ResponseReturnValue:
    """PUT vrrp/upload."""
    body = request.get_data()
    with amphora.changing() as change:
        ownership.require_controllers_vrrp(change)
        vrrp.upload(change, body)
    return {"message": "OK"}, {"ETag": md5(body)}


def put_action(amphora: Amphora, action: str) -> ResponseReturnValue:
    """PUT vrrp/<action>."""
    if action.lower() not in tuple(Action):
        raise InvalidRequest("Invalid Request", f"Unknown action: {action.lower()}")
    with amphora.changing() as change:
        ownership.require_controllers_vrrp(change)
        done = vrrp.perform(change, Action(action.lower()))
    return {"message": "OK", "details": f"keepalived {_DONE[done]}"}, HTTPStatus.ACCEPTED
