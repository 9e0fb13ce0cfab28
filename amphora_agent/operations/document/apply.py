"""Apply a document: one document, one change, and all of it or nothing. A dry run decides by the same functions.

    require -> begin -> bring about -> commit
                          fails: bring about what was applied last, or clear away

Crash-safe: `begin` leaves a mark that `commit` takes away; in between, what was applied last is brought about again at
the next start of the agent.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import msgspec

from amphora_agent.core.document.differences import Difference, differences
from amphora_agent.core.document.model import Document
from amphora_agent.core.document.place import Place, lvs_listeners
from amphora_agent.core.document.plan import Plan, PlannedStep, combined, plan_of, text_difference
from amphora_agent.core.document.stored import Drained, Revert, Stored, still_there
from amphora_agent.core.haproxy.change import Decision
from amphora_agent.core.ids import LoadBalancerId
from amphora_agent.errors import AgentError, HostFailure, InvalidRequest, NotFound
from amphora_agent.host import files
from amphora_agent.operations import metrics_record
from amphora_agent.operations.amphora import Amphora, Change
from amphora_agent.operations.document import adoption, desired, serve, store
from amphora_agent.operations.document.desired import Desired
from amphora_agent.operations.document.refusals import NotApplied, RefusedByProgram
from amphora_agent.operations.events import EventKind

LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is to be applied, and who asked.

    Attributes:
        drained: members without new clients; None: those of before, as far as they are still there.
        confirm: seconds until the change is taken back unless it is confirmed; None: it stays.
        is_settled: nothing waits to be confirmed afterwards, be the document the one of before or not.
    """

    document: Document
    by: str
    drained: tuple[Drained, ...] | None = None
    confirm: float | None = None
    is_settled: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """What came of it, or would: `stored` is what is now remembered, `diff` of HAProxy's text and of dry runs alone."""

    lb_id: LoadBalancerId
    stored: Stored
    plan: Plan
    differences: tuple[Difference, ...]
    is_dry_run: bool
    diff: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Aim:
    """What was looked at before anything is touched: what was applied last, what is desired, what else is to be done.

    `is_new`: the document differs from the one before.
    """

    before: Stored | None
    drained: tuple[Drained, ...]
    desired: Desired
    others: tuple[PlannedStep, ...]
    is_new: bool


def apply(change: Change, lb_id: LoadBalancerId, wanted: Wanted) -> Applied:
    """Bring the load balancer to a document; on return it serves.

    Raises:
        InvalidDocument: nothing was touched.
        RefusedByProgram, NotApplied: what was applied before serves.
    """
    aim = _aim(change, lb_id, wanted)
    with _taken_back(change, lb_id):
        store.begin(change, lb_id, adoption.look(change, lb_id, wanted.document))
        began = time.monotonic()
        decision = serve.bring_about(change, lb_id, aim.desired)
        applied = _applied(lb_id, wanted, aim, decision, seconds=time.monotonic() - began)
        store.commit(change, lb_id, applied.stored, is_revision=aim.is_new)
    _end(change, lb_id, aim.desired)
    metrics_record.write(change)
    detail = f"generation {applied.stored.generation}: {applied.plan.decision}, {applied.plan.reason}"
    _tell(change, lb_id, EventKind.APPLIED, detail)
    return applied


def plan(amphora: Amphora, lb_id: LoadBalancerId, wanted: Wanted) -> Applied:
    """Return what `apply` would do; touches nothing, and takes no lock.

    Raises:
        InvalidDocument: as `apply`.
    """
    aim = _aim(amphora, lb_id, wanted)
    decision = serve.foresee(amphora, lb_id, aim.desired)
    running = (files.read_optional(amphora.paths.loadbalancer(lb_id).config) or b"").decode("utf-8", "replace")
    planned = _applied(lb_id, wanted, aim, decision, seconds=0.0)
    return replace(planned, is_dry_run=True, diff=text_difference(running, aim.desired.haproxy or ""))


def apply_again(change: Change, lb_id: LoadBalancerId, by: str) -> Applied:
    """Apply what was applied last, because something it needs has changed."""
    return apply(change, lb_id, Wanted(document=store.get(change, lb_id).document, by=by))


def confirm(change: Change, lb_id: LoadBalancerId) -> Stored:
    """Keep a change that was to be taken back.

    Raises:
        NotFound: there is no such load balancer, or nothing to confirm.
    """
    stored = store.get(change, lb_id)
    if stored.revert is None:
        raise NotFound("There is nothing to confirm", f"generation {stored.generation} stays as it is")
    stored = msgspec.structs.replace(stored, revert=None)
    store.commit(change, lb_id, stored, is_revision=True)
    store.end(change, lb_id)
    _tell(change, lb_id, EventKind.CONFIRMED, f"generation {stored.generation}")
    return stored


def delete(change: Change, lb_id: LoadBalancerId) -> None:
    """Stop a load balancer and remove all of it.

    Raises:
        NotFound: there is none.
        HostFailure: something is left; the next start of the agent removes it, or the same call.
    """
    if not files.exists(change.paths.document(lb_id).directory):
        raise NotFound("There is no such load balancer", f"no document of {lb_id}")
    store.begin(change, lb_id)
    store.forget(change, lb_id)
    serve.clear_away(change, lb_id)
    store.remove(change, lb_id)
    _tell(change, lb_id, EventKind.DELETED, "")
    LOG.info("deleted the load balancer of a document lb=%s", lb_id)


def recover(change: Change, lb_id: LoadBalancerId) -> None:
    """Bring about what was applied last, after a change that did not end.

    Raises:
        AgentError: it could not be; the mark is still there.
    """
    last = store.find(change, lb_id)
    if last is not None:
        aim = desired.desired_of(change, lb_id, last.document, last.drained)
        serve.bring_about(change, lb_id, aim)
        serve.tidy(change, lb_id, aim)
        store.end(change, lb_id)
    elif store.is_unreadable(change, lb_id):
        raise HostFailure("cannot read a document", f"a later release wrote that of {lb_id}, or it is damaged")
    else:
        _recover_what_was_none(change, lb_id)
    LOG.warning("took back a change that had not ended lb=%s", lb_id)


def _aim(amphora: Amphora, lb_id: LoadBalancerId, wanted: Wanted) -> _Aim:
    desired.require_valid(amphora, lb_id, wanted.document)
    before = store.find(amphora, lb_id)
    asked = wanted.drained if wanted.drained is not None else (before.drained if before is not None else ())
    drained = still_there(asked, wanted.document)
    aim = desired.desired_of(amphora, lb_id, wanted.document, drained)
    return _Aim(
        before=before,
        drained=drained,
        desired=aim,
        others=serve.other_steps(amphora, lb_id, aim, _lvs_names(aim.place, before, wanted.document)),
        is_new=before is None or before.document != wanted.document,
    )


def _applied(lb_id: LoadBalancerId, wanted: Wanted, aim: _Aim, decision: Decision | None, *, seconds: float) -> Applied:
    documents = (wanted.document,) if aim.before is None else (aim.before.document, wanted.document)
    haproxy = None if decision is None else plan_of(decision, aim.desired.place, documents)
    plan = combined(haproxy, aim.others)
    now = time.time()
    stored = Stored(
        document=wanted.document,
        generation=(0 if aim.before is None else aim.before.generation) + aim.is_new,
        at=now,
        by=wanted.by,
        decision=plan.decision,
        reason=plan.reason,
        seconds=seconds,
        drained=aim.drained,
        revert=_revert(aim, wanted, now),
    )
    found = differences(None if aim.before is None else aim.before.document, wanted.document)
    return Applied(lb_id=lb_id, stored=stored, plan=plan, differences=found, is_dry_run=False)


def _revert(aim: _Aim, wanted: Wanted, now: float) -> Revert | None:
    """Return what is to be taken back and when; what was not confirmed before is taken back with it."""
    pending = None if aim.before is None else aim.before.revert
    if wanted.confirm is None:
        return None if wanted.is_settled or aim.is_new else pending
    confirmed = 0 if aim.before is None else aim.before.generation
    return Revert(confirmed if pending is None else pending.generation, now + wanted.confirm)


def _lvs_names(place: Place, before: Stored | None, document: Document) -> dict[str, str]:
    documents = [document] if before is None else [before.document, document]
    return {place.identity.listener(each.name): each.name for one in documents for each in lvs_listeners(one)}


def _recover_what_was_none(change: Change, lb_id: LoadBalancerId) -> None:
    """Leave no document; without the mark nothing was touched yet, or all is removed but what is remembered."""
    if store.is_unfinished(change, lb_id):
        adopted = store.adopted(change, lb_id)
        if adopted is None:
            serve.clear_away(change, lb_id)
        else:
            adoption.give_back(change, lb_id, adopted)
    store.remove(change, lb_id)


def _end(change: Change, lb_id: LoadBalancerId, aim: Desired) -> None:
    """Clean up behind a change that is committed; what is left then is the watcher's to finish."""
    try:
        serve.tidy(change, lb_id, aim)
        store.end(change, lb_id)
    except (AgentError, OSError) as error:
        LOG.warning("cannot clean up after a change lb=%s: %s: %s", lb_id, error, getattr(error, "detail", ""))


@contextlib.contextmanager
def _taken_back(change: Change, lb_id: LoadBalancerId) -> Iterator[None]:
    """Take back what fails within the block.

    Raises:
        RefusedByProgram, NotApplied: instead of what failed.
    """
    try:
        yield
    except InvalidRequest as error:
        took_back = _take_back(change, lb_id)
        raise RefusedByProgram("The configuration is refused", f"{error.detail}{took_back}") from error
    except (AgentError, OSError) as error:
        took_back = _take_back(change, lb_id)
        detail = f"{error}: {getattr(error, 'detail', '')}{took_back}"
        raise NotApplied("The document could not be applied", detail) from error


def _take_back(change: Change, lb_id: LoadBalancerId) -> str:
    """Bring about what was applied last; return what is to be added to the failure's words."""
    try:
        recover(change, lb_id)
    except (AgentError, OSError) as error:
        LOG.error("cannot take a change back lb=%s: %s: %s", lb_id, error, getattr(error, "detail", ""))
        return f"\nwhat was there before could not be brought back yet: {error}"
    _tell(change, lb_id, EventKind.ROLLED_BACK, "a change could not be applied")
    return ""


def _tell(change: Change, lb_id: LoadBalancerId, kind: EventKind, detail: str) -> None:
    change.events.append(kind, lb_id, "", detail, at=time.time())
