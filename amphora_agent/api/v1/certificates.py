"""Endpoints of certificates: the tenants' and the agent's own."""

from __future__ import annotations

from http import HTTPStatus

from flask import request
from flask.typing import ResponseReturnValue

from amphora_agent.api.v1.identity import loadbalancer_id, pem_name
from amphora_agent.api.v1.loadbalancers import md5
from amphora_agent.core.ids import LoadBalancerId, is_id
from amphora_agent.errors import NotFound
from amphora_agent.operations import certificates, ownership
from amphora_agent.operations.amphora import Amphora


def put_certificate(amphora: Amphora, lb_id: str, filename: str) -> ResponseReturnValue:
    """PUT loadbalancer/<lb>/certificates/<file>: opaque bytes."""
    name, body = pem_name(filename), request.get_data()
    with amphora.changing() as change:
        ownership.require_controllers(change, loadbalancer_id(lb_id))
        certificates.store(change, loadbalancer_id(lb_id), name, body)
    return {"message": "OK"}, HTTPStatus.OK, {"ETag": md5(body)}


def get_certificate(amphora: Amphora, lb_id: str, filename: str) -> ResponseReturnValue:
    """GET loadbalancer/<lb>/certificates/<file>: the MD5 alone, never the content."""
    name = pem_name(filename)
    if not is_id(lb_id):
        raise NotFound("Certificate Not Found", f"No certificate with filename: {name}")
    digest = md5(certificates.read(amphora, LoadBalancerId(lb_id), name))
    return {"md5sum": digest}, HTTPStatus.OK, {"ETag": digest}


def delete_certificate(amphora: Amphora, lb_id: str, filename: str) -> ResponseReturnValue:
    """DELETE loadbalancer/<lb>/certificates/<file>."""
    name = pem_name(filename)
    if is_id(lb_id):
        with amphora.changing() as change:
            ownership.require_controllers(change, LoadBalancerId(lb_id))
            certificates.delete(change, LoadBalancerId(lb_id), name)
    return {"message": "OK"}


def put_own_certificate(amphora: Amphora) -> ResponseReturnValue:
    """PUT certificate: the agent's own."""
    body = request.get_data()
    with amphora.changing() as change:
        certificates.replace_own(change, body)
    return {"message": "OK"}, HTTPStatus.ACCEPTED
