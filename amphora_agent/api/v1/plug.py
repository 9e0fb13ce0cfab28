"""Endpoints that plug NICs into the namespace."""

from __future__ import annotations

from http import HTTPStatus

from flask import request
from flask.typing import ResponseReturnValue

from amphora_agent.api.v1 import schema
from amphora_agent.operations.amphora import Amphora
from amphora_agent.operations.network import plug

_SUBNET = "Invalid subnet information"
_PORT = "Invalid port information"


def post_plug_vip(amphora: Amphora, vip: str) -> ResponseReturnValue:
    """POST plug/vip/<vip>."""
    body = schema.decode_json(request, schema.PlugVipBody, _SUBNET)
    net = schema.parse_vip_net(vip, body)
    port = schema.parse_port(body, [vip.address for vip in net.vips], _SUBNET)
    name = plug.with_nic(amphora, port.mac, lambda change: plug.plug_vip(change, net, port))
    addresses = ", ".join(vip.address.exploded for vip in net.vips)
    return {"message": "OK", "details": f"VIPs plugged on interface {name}: {addresses}"}, HTTPStatus.ACCEPTED


def post_plug_network(amphora: Amphora) -> ResponseReturnValue:
    """POST plug/network."""
    body = schema.decode_json(request, schema.PlugNetworkBody, _PORT)
    fixed_ips = schema.parse_fixed_ips(body.fixed_ips)
    info = body.vip_net_info
    net = None if info is None else schema.parse_vip_net(info.vip, info)
    addresses = [fixed.address for fixed in fixed_ips] + [vip.address for vip in (net.vips if net else ())]
    port = schema.parse_port(body, addresses, _PORT)
    name, was_there = plug.with_nic(amphora, port.mac, lambda change: plug.plug_network(change, port, fixed_ips, net))
    text = f"Updated existing interface {name}" if was_there else f"Plugged on interface {name}"
    return {"message": "OK", "details": text}, HTTPStatus.ACCEPTED
