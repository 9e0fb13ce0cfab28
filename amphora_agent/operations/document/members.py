"""The hot part of a document: the members of a pool, and who of them gets no new clients. Applies through `apply`."""

from __future__ import annotations

import time

from amphora_agent.core.document.edit import member_of, pool_of, with_members
from amphora_agent.core.document.model import Document, Pool
from amphora_agent.core.document.stored import Drained, Stored
from amphora_agent.core.ids import LoadBalancerId
from amphora_agent.errors import NotFound
from amphora_agent.operations.amphora import Amphora, Change
from amphora_agent.operations.document import apply, store
from amphora_agent.operations.document.apply import Applied, Wanted
from amphora_agent.operations.events import EventKind


def find_pool(amphora: Amphora, lb_id: LoadBalancerId, pool: str) -> tuple[Stored, Pool]:
    """Return what was applied last, and a pool of it.

    Raises:
        NotFound: no such load balancer or pool.
    """
    stored = store.get(amphora, lb_id)
    found = pool_of(stored.document, pool)
    if found is None:
        raise NotFound("There is no such pool", f"no pool {pool!r} in load balancer {stored.document.name!r}")
    return stored, found


def without(stored: Stored, pool: Pool, member: str) -> Document:
    """Return the document without a member.

    Raises:
        NotFound: no such member.
    """
    _require(stored, pool.name, member)
    return with_members(stored.document, pool, [each for each in pool.members if each.name != member])


def drain(change: Change, lb_id: LoadBalancerId, pool: str, member: str, by: str) -> Applied:
    """Give a member no new clients, until `ready`; a second time changes nothing.

    Raises:
        NotFound: no such load balancer, pool or member.
        NotApplied: as `apply.apply`.
    """
    stored, _ = find_pool(change, lb_id, pool)
    _require(stored, pool, member)
    if any((each.pool, each.member) == (pool, member) for each in stored.drained):
        return apply.apply_again(change, lb_id, by)
    drained = (*stored.drained, Drained(pool=pool, member=member, by=by, since=time.time()))
    applied = apply.apply(change, lb_id, Wanted(document=stored.document, by=by, drained=drained))
    change.events.append(EventKind.DRAINED, lb_id, f"member {pool}/{member}", f"by {by}", at=time.time())
    return applied


def make_ready(change: Change, lb_id: LoadBalancerId, pool: str, member: str, by: str) -> Applied:
    """Give a drained member new clients again; one that is not drained stays as it is.

    Raises:
        NotFound: no such load balancer, pool or member.
        NotApplied: as `apply.apply`.
    """
    stored, _ = find_pool(change, lb_id, pool)
    _require(stored, pool, member)
    drained = tuple(each for each in stored.drained if (each.pool, each.member) != (pool, member))
    applied = apply.apply(change, lb_id, Wanted(document=stored.document, by=by, drained=drained))
    change.events.append(EventKind.READY, lb_id, f"member {pool}/{member}", f"by {by}", at=time.time())
    return applied


def _require(stored: Stored, pool: str, member: str) -> None:
    if member_of(stored.document, pool, member) is None:
        raise NotFound("There is no such member", f"no member {member!r} in pool {pool!r}")
