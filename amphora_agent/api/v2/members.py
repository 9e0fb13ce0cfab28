"""Endpoints of a pool's members: the part of a document that changes every minute."""

from __future__ import annotations

from collections.abc import Callable

from flask import Response

from amphora_agent.api.v2 import asked, loadbalancers, shape
from amphora_agent.core.document.edit import read_member, read_members
from amphora_agent.core.document.model import Pool
from amphora_agent.core.document.plan import Plan, PlannedStep
from amphora_agent.core.document.reading import Reading
from amphora_agent.core.document.stored import Stored, members_etag
from amphora_agent.core.ids import LoadBalancerId
from amphora_agent.operations import ownership
from amphora_agent.operations.amphora import Amphora
from amphora_agent.operations.document import apply, members, watch
from amphora_agent.operations.document.apply import Wanted
from amphora_agent.operations.haproxy import drains


def get(amphora: Amphora, lb: str, pool: str) -> Response:
    """Return a pool's members."""
    loadbalancers.own(amphora, lb)
    _, found = members.find_pool(amphora, asked.lb_id(lb), pool)
    return shape.json(found.members, members_etag(found.members))


def put(amphora: Amphora, lb: str, pool: str) -> Response:
    """Replace a pool's members."""
    body = asked.json_body()

    def wanted(stored: Stored, found: Pool) -> Reading:
        return asked.shaped(read_members(stored.document, found, body))

    return _perform(amphora, lb, pool, wanted)


def put_one(amphora: Amphora, lb: str, pool: str, member: str) -> Response:
    """Add or replace a member."""
    body = asked.json_body()

    def wanted(stored: Stored, found: Pool) -> Reading:
        return asked.shaped(read_member(stored.document, found, member, body))

    return _perform(amphora, lb, pool, wanted)


def delete_one(amphora: Amphora, lb: str, pool: str, member: str) -> Response:
    """Remove a member."""

    def wanted(stored: Stored, found: Pool) -> Reading:
        return Reading(members.without(stored, found, member), ())

    return _perform(amphora, lb, pool, wanted)


def _perform(amphora: Amphora, lb: str, pool: str, wanted: Callable[[Stored, Pool], Reading]) -> Response:
    """Apply a change of a pool's members under the request's preconditions, or plan to."""
    lb_id, dry_run, confirm = asked.lb_id(lb), asked.flag("dry_run"), asked.confirm()
    with watch.changing(amphora) as change:
        loadbalancers.own(change, lb)
        stored, found = members.find_pool(change, lb_id, pool)
        asked.require_match(members_etag(found.members))
        reading = wanted(stored, found)
        aim = Wanted(document=reading.document, by=asked.by(), confirm=confirm)
        applied = apply.plan(change, lb_id, aim) if dry_run else apply.apply(change, lb_id, aim)
    return loadbalancers.answer(applied, reading.ignored)


def post_drain(amphora: Amphora, lb: str, pool: str, member: str) -> Response:
    """Give a member no new clients."""
    lb_id = asked.lb_id(lb)
    with watch.changing(amphora) as change:
        if ownership.is_controllers(change.paths, lb_id):
            drains.drain(change, lb_id, pool, member, asked.by())
            return _switched(lb_id, "drain", f"member {pool}/{member}")
        applied = members.drain(change, lb_id, pool, member, asked.by())
    return loadbalancers.answer(applied)


def post_ready(amphora: Amphora, lb: str, pool: str, member: str) -> Response:
    """Give a drained member new clients again."""
    lb_id = asked.lb_id(lb)
    with watch.changing(amphora) as change:
        if ownership.is_controllers(change.paths, lb_id):
            drains.make_ready(change, lb_id, pool, member)
            return _switched(lb_id, "make ready", f"member {pool}/{member}")
        applied = members.make_ready(change, lb_id, pool, member, asked.by())
    return loadbalancers.answer(applied)


def _switched(lb_id: LoadBalancerId, do: str, subject: str) -> Response:
    plan = Plan(decision="runtime", reason=f"{do} {subject}", reload=False, steps=(PlannedStep(do, subject),))
    return shape.json(shape.controllers(lb_id, plan, dry_run=False))
