"""Endpoint of events. Who waits for one that is not there yet waits in the transport."""

from __future__ import annotations

from flask import Response, request

from amphora_agent.api.v2 import answers, asked, shape
from amphora_agent.operations.amphora import Amphora


def get(amphora: Amphora) -> Response:
    """Return what happened after a sequence, of one load balancer or of all."""
    after = asked.number("after", 0, 2**53 - 1, default=0)
    named = request.args.get("loadbalancer")
    wanted = None if named is None else asked.lb_id(named)
    latest = amphora.events.latest
    found = tuple(event for event in amphora.events.since(after) if wanted in {None, event.loadbalancer})
    lost = amphora.events.has_lost(after)
    asked.wait_for_news(amphora, unless=lost or bool(found))
    return shape.json(answers.Events(latest=latest, lost=lost, events=tuple(shape.event(each) for each in found)))
