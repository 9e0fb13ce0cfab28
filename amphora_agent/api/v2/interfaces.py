"""Endpoints of interfaces: plugs without a controller, by the NIC's name or MAC address."""

from __future__ import annotations

from flask import Response

from amphora_agent.api.v2 import asked, shape
from amphora_agent.operations.amphora import Amphora
from amphora_agent.operations.document import interfaces
from amphora_agent.operations.network import plug


def get_all(amphora: Amphora) -> Response:
    """Return every interface that is kept, as it is wanted."""
    return shape.json([shape.interface(mac, wanted) for mac, wanted in interfaces.kept(amphora)])


def put(amphora: Amphora, interface: str) -> Response:
    """Make an interface what the body says, or plan to; waits a little for a NIC that is attached at this moment."""
    document, dry_run = asked.interface(), asked.flag("dry_run")
    mac = interfaces.mac_of(amphora, interface)
    act = interfaces.plan if dry_run else interfaces.put
    planned = plug.with_nic(amphora, mac, lambda change: act(change, mac, document))
    return shape.json(shape.interface_outcome(planned, is_dry_run=dry_run))
