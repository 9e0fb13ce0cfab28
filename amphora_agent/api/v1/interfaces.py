"""Endpoints about interfaces of the namespace."""

from __future__ import annotations

from flask import request
from flask.typing import ResponseReturnValue

from amphora_agent.api.v1 import schema
from amphora_agent.operations.amphora import Amphora
from amphora_agent.operations.network import interfaces


def get_interface(amphora: Amphora, ip: str) -> ResponseReturnValue:
    """GET interface/<ip>: the name of the interface that has the address."""
    return {"message": "OK", "interface": interfaces.find_interface(amphora, ip)}


def put_rules(amphora: Amphora, ip: str) -> ResponseReturnValue:
    """PUT interface/<ip>/rules: all that an SR-IOV VIP lets in; the address is checked before the body."""
    interfaces.find_interface(amphora, ip)
    what = "Invalid rules information"
    rules = schema.parse_rules(schema.decode_json(request, schema.Rules, what), what)
    with amphora.changing() as change:
        interfaces.set_rules(change, ip, rules)
    return {"message": "OK"}
