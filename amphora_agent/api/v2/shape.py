"""From what operations return to what is answered. Asks nobody."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any

import msgspec
from flask import Response

from amphora_agent.api.v2 import answers
from amphora_agent.core.document.differences import Difference
from amphora_agent.core.document.interface import declared
from amphora_agent.core.document.plan import Plan, PlannedStep
from amphora_agent.core.document.status import LoadBalancerStatus, MemberStatus, Operating
from amphora_agent.core.document.stored import Drained, Revert, Stored, etag
from amphora_agent.core.heartbeat.document import Part
from amphora_agent.core.ids import LoadBalancerId
from amphora_agent.core.network.model import Interface
from amphora_agent.core.records.drained import DrainedServer
from amphora_agent.operations.document.apply import Applied
from amphora_agent.operations.document.controllers import Report
from amphora_agent.operations.document.interfaces import Planned
from amphora_agent.operations.document.secrets import Secret
from amphora_agent.operations.events import Event


def json(value: object, tag: str | None = None) -> Response:
    """Return a value as a response, with its ETag if it has one."""
    response = Response(msgspec.json.encode(value), content_type="application/json")
    if tag is not None:
        response.headers["ETag"] = tag
    return response


def nothing() -> Response:
    """Return the answer that has no content, and so no type of it."""
    response = Response(status=HTTPStatus.NO_CONTENT)
    del response.headers["Content-Type"]
    return response


def moment(seconds: float) -> dt.datetime:
    """Return seconds since the epoch as UTC, whole seconds."""
    return dt.datetime.fromtimestamp(int(seconds), dt.UTC)


def outcome(applied: Applied, ignored: tuple[str, ...] = ()) -> answers.Outcome:
    """Return what came of a document, or would."""
    stored, plan = applied.stored, applied.plan
    return answers.Outcome(
        id=applied.lb_id,
        name=stored.document.name,
        generation=stored.generation,
        etag=etag(stored.document),
        dry_run=applied.is_dry_run,
        decision=msgspec.convert(plan.decision, answers.DecisionWord),
        reason=plan.reason,
        reload=plan.reload,
        seconds=None if applied.is_dry_run else round(stored.seconds, 4),
        steps=_steps(plan.steps),
        differences=_differences(applied.differences),
        ignored=ignored,
        diff=applied.diff,
        revert_at=_revert_at(stored.revert),
    )


def confirmed(lb_id: LoadBalancerId, stored: Stored) -> answers.Outcome:
    """Return what came of a confirmation."""
    return answers.Outcome(
        id=lb_id,
        name=stored.document.name,
        generation=stored.generation,
        etag=etag(stored.document),
        dry_run=False,
        decision="nothing",
        reason="confirmed",
        reload=False,
        seconds=0.0,
        steps=(),
        differences=(),
        ignored=(),
        diff="",
        revert_at=None,
    )


def controllers(lb_id: LoadBalancerId, plan: Plan, *, dry_run: bool) -> answers.Outcome:
    """Return what was done, or would be, to a load balancer that a controller wrote: it has no document."""
    return answers.Outcome(
        id=lb_id,
        name=lb_id,
        generation=0,
        etag="",
        dry_run=dry_run,
        decision=msgspec.convert(plan.decision, answers.DecisionWord),
        reason=plan.reason,
        reload=plan.reload,
        seconds=None,
        steps=_steps(plan.steps),
        differences=(),
        ignored=(),
        diff="",
        revert_at=None,
    )


def _steps(steps: tuple[PlannedStep, ...]) -> tuple[answers.Step, ...]:
    return tuple(answers.Step(do=each.do, subject=each.subject) for each in steps)


def _differences(found: tuple[Difference, ...]) -> tuple[answers.Change, ...]:
    return tuple(
        answers.Change(kind=each.kind.value, pointer=each.pointer, where=each.where, detail=each.detail)
        for each in found
    )


def _revert_at(revert: Revert | None) -> dt.datetime | None:
    return None if revert is None else moment(revert.at)


def revision(stored: Stored) -> answers.Revision:
    """Return one of the last documents, without its text."""
    return answers.Revision(
        number=stored.generation,
        at=moment(stored.at),
        by=stored.by,
        decision=stored.decision,
        reason=stored.reason,
        etag=etag(stored.document),
    )


def secret(found: Secret) -> answers.Secret:
    """Return what may be told of a secret."""
    return answers.Secret(
        name=found.name,
        kind=found.kind.value,
        subject=found.subject,
        names=found.names,
        not_after=found.not_after,
        sha256=found.sha256,
        used_by=found.used_by,
    )


def event(found: Event) -> answers.EventAnswer:
    """Return one thing that happened."""
    return answers.EventAnswer(
        sequence=found.sequence,
        at=moment(found.at),
        kind=found.kind,
        loadbalancer=found.loadbalancer,
        subject=found.subject,
        detail=found.detail,
    )


def interface(mac: str, wanted: Interface) -> answers.Interface:
    """Return an interface as it is wanted."""
    return answers.Interface(**_interface(mac, wanted))


def interface_outcome(planned: Planned, *, is_dry_run: bool) -> answers.InterfaceOutcome:
    """Return what came of an interface, or would."""
    return answers.InterfaceOutcome(
        **_interface(planned.mac, planned.interface), dry_run=is_dry_run, steps=planned.in_words
    )


def _interface(mac: str, wanted: Interface) -> dict[str, Any]:
    return {"name": wanted.name, "mac": mac, **msgspec.structs.asdict(declared(wanted))}


def last_apply(stored: Stored) -> answers.LastApply:
    """Return how a document came to be served."""
    return answers.LastApply(
        at=moment(stored.at),
        by=stored.by,
        decision=stored.decision,
        reason=stored.reason,
        seconds=round(stored.seconds, 4),
    )


def controllers_status(found: Report) -> answers.Status:
    """Return how a load balancer is that a controller wrote."""
    tree = found.status
    is_healthy = tree.operating is Operating.ONLINE
    return answers.Status(
        id=found.lb_id,
        name=found.lb_id,
        owner="controller",
        generation=0,
        observed_generation=0,
        conditions=(
            answers.Condition(type="Healthy", status=is_healthy, reason="" if is_healthy else tree.operating.value),
        ),
        operating=tree.operating.value,
        role=None if found.role is None else found.role.value,
        listeners=listeners(tree, found.part, {each.name: each.name for each in tree.listeners}, found.drained),
        unused_pools=(),
        last_apply=None,
    )


def listeners(
    status: LoadBalancerStatus, part: Part, ids: Mapping[str, str], drained: Iterable[Drained | DrainedServer]
) -> tuple[answers.ListenerStatus, ...]:
    """Return the statuses of listeners and what is behind them.

    Args:
        status: the tree.
        part: what is served, for the numbers of connections.
        ids: listener name -> id.
        drained: members without new clients.
    """
    by_name = {(each.pool, each.member): each for each in drained}
    return tuple(
        answers.ListenerStatus(
            name=listener.name,
            operating=listener.operating.value,
            reason=listener.reason,
            connections=_connections(part, ids[listener.name])[0],
            total_connections=_connections(part, ids[listener.name])[1],
            pools=tuple(
                answers.PoolStatus(
                    name=pool.name,
                    operating=pool.operating.value,
                    reason=pool.reason,
                    members=tuple(_member(each, by_name.get((pool.name, each.name))) for each in pool.members),
                )
                for pool in listener.pools
            ),
        )
        for listener in status.listeners
    )


def _connections(part: Part, listener_id: str) -> tuple[int, int]:
    """Return the connections of this moment, and all that the sources that answered have counted."""
    shown = part.listeners.get(listener_id)
    samples = () if shown is None else shown.samples
    total = sum(sample.totals.connections for sample in samples if sample.totals is not None)
    return sum(sample.current for sample in samples), total


def _member(member: MemberStatus, drained: Drained | DrainedServer | None) -> answers.MemberStatus:
    return answers.MemberStatus(
        name=member.name,
        operating=member.operating.value,
        reason=member.reason,
        detail=member.detail,
        seconds=member.seconds,
        drained=None if drained is None else answers.DrainedBy(by=drained.by, since=moment(drained.since)),
    )
