"""Endpoints of documents: put, look, plan, confirm, go back."""

from __future__ import annotations

from flask import Response

from amphora_agent.api.v2 import answers, asked, shape
from amphora_agent.core.document.stored import Stored, etag
from amphora_agent.core.ids import LoadBalancerId
from amphora_agent.errors import Conflict, InvalidRequest, NotFound
from amphora_agent.operations import inventory, ownership
from amphora_agent.operations.amphora import Amphora
from amphora_agent.operations.document import apply, controllers, status, store, texts, watch
from amphora_agent.operations.document.apply import Applied, Wanted
from amphora_agent.operations.document.refusals import OwnedByController


def get_all(amphora: Amphora) -> Response:
    """Return every load balancer of this amphora."""
    stored = store.all_stored(amphora)
    found = [
        answers.LoadBalancer(
            id=lb_id,
            name=each.document.name,
            owner="api2",
            generation=each.generation,
            etag=etag(each.document),
        )
        for lb_id, each in stored.items()
    ]
    found += [
        answers.LoadBalancer(id=lb_id, name=lb_id, owner="controller", generation=0, etag=None)
        for lb_id in inventory.loadbalancer_ids(amphora.paths)
        if lb_id not in stored
    ]
    return shape.json(found)


def get(amphora: Amphora, lb: str) -> Response:
    """Return the document that was applied last."""
    document = own(amphora, lb).document
    return shape.json(document, etag(document))


def put(amphora: Amphora, lb: str) -> Response:
    """Apply a document, or plan to."""
    reading, lb_id = asked.document(lb), asked.lb_id(lb)
    wanted = Wanted(document=reading.document, by=asked.by(), confirm=asked.confirm())
    return perform(amphora, lb_id, wanted, reading.ignored, adopts=asked.flag("adopt"))


def perform(
    amphora: Amphora, lb_id: LoadBalancerId, wanted: Wanted, ignored: tuple[str, ...] = (), *, adopts: bool = False
) -> Response:
    """Apply what is wanted under the request's preconditions, or plan to, and answer with what came of it."""
    dry_run = asked.flag("dry_run")
    with watch.changing(amphora) as change:
        before = store.find(change, lb_id)
        if before is None and not adopts:
            _refuse_controllers(change, lb_id)
        asked.require_match(None if before is None else etag(before.document))
        applied = apply.plan(change, lb_id, wanted) if dry_run else apply.apply(change, lb_id, wanted)
    return answer(applied, ignored)


def answer(applied: Applied, ignored: tuple[str, ...] = ()) -> Response:
    """Answer with what came of a change, or would."""
    outcome = shape.outcome(applied, ignored)
    return shape.json(outcome, outcome.etag)


def delete(amphora: Amphora, lb: str) -> Response:
    """Stop a load balancer and remove it."""
    lb_id = asked.lb_id(lb)
    with watch.changing(amphora) as change:
        before = store.find(change, lb_id)
        if before is None:
            _refuse_controllers(change, lb_id)
        asked.require_match(None if before is None else etag(before.document))
        apply.delete(change, lb_id)
    return shape.nothing()


def post_confirm(amphora: Amphora, lb: str) -> Response:
    """Keep a change that was to be taken back."""
    lb_id = asked.lb_id(lb)
    with watch.changing(amphora) as change:
        own(change, lb)
        try:
            stored = apply.confirm(change, lb_id)
        except NotFound as error:
            raise Conflict(str(error), error.detail) from error
    return shape.json(shape.confirmed(lb_id, stored), etag(stored.document))


def get_plan(amphora: Amphora, lb: str) -> Response:
    """Return what would make what runs equal to what is stored."""
    lb_id = asked.lb_id(lb)
    if ownership.is_controllers(amphora.paths, lb_id):
        return shape.json(shape.controllers(lb_id, controllers.plan(amphora, lb_id), dry_run=True))
    stored = own(amphora, lb)
    return answer(apply.plan(amphora, lb_id, Wanted(document=stored.document, by=asked.by())))


def get_rendered(amphora: Amphora, lb: str) -> Response:
    """Return the configurations as they are written."""
    _require(amphora, lb)
    return _texts(texts.rendered(amphora, asked.lb_id(lb)))


def get_running(amphora: Amphora, lb: str) -> Response:
    """Return the configurations as they run."""
    _require(amphora, lb)
    return _texts(texts.running(amphora, asked.lb_id(lb)))


def _texts(found: texts.Texts) -> Response:
    return shape.json(answers.Texts(haproxy=found.haproxy, lvs=found.lvs, vrrp=found.vrrp))


def get_status(amphora: Amphora, lb: str) -> Response:
    """Return how a load balancer is: at this moment, or once its generation is a later one than was asked about."""
    lb_id = asked.lb_id(lb)
    after = asked.number("after", 0, 2**53 - 1, default=-1)
    if ownership.is_controllers(amphora.paths, lb_id):
        asked.wait_for_news(amphora, unless=True)
        return shape.json(shape.controllers_status(controllers.report(amphora, lb_id)))
    asked.wait_for_news(amphora, unless=own(amphora, lb).generation > after)
    return shape.json(_status(lb_id, status.report(amphora, lb_id)))


def _status(lb_id: LoadBalancerId, found: status.Report) -> answers.Status:
    stored, tree = found.stored, found.status
    return answers.Status(
        id=lb_id,
        name=stored.document.name,
        owner="api2",
        generation=stored.generation,
        observed_generation=stored.generation if not found.trouble else stored.generation - 1,
        conditions=(
            answers.Condition(type="Accepted", status=True, reason=""),
            answers.Condition(type="Programmed", status=not found.trouble, reason=found.trouble),
            answers.Condition(
                type="Healthy", status=found.is_healthy, reason="" if found.is_healthy else tree.operating
            ),
        ),
        operating=tree.operating.value,
        role=None if found.role is None else found.role.value,
        listeners=shape.listeners(tree, found.part, found.listener_ids, stored.drained),
        unused_pools=tree.unused_pools,
        last_apply=shape.last_apply(stored),
    )


def get_revisions(amphora: Amphora, lb: str) -> Response:
    """Return the last documents, the newest first."""
    own(amphora, lb)
    return shape.json([shape.revision(each) for each in store.revisions(amphora, asked.lb_id(lb))])


def get_revision(amphora: Amphora, lb: str, number: str) -> Response:
    """Return one of the last documents."""
    own(amphora, lb)
    document = store.revision(amphora, asked.lb_id(lb), _number(number)).document
    return shape.json(document, etag(document))


def post_restore(amphora: Amphora, lb: str, number: str) -> Response:
    """Apply one of the last documents again; it becomes a new generation."""
    own(amphora, lb)
    lb_id = asked.lb_id(lb)
    document = store.revision(amphora, lb_id, _number(number)).document
    return perform(amphora, lb_id, Wanted(document=document, by=asked.by(), confirm=asked.confirm()))


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise InvalidRequest("The path is malformed", "a revision is a number")
    return int(text)


def own(amphora: Amphora, lb: str) -> Stored:
    """Return what was applied last of a load balancer that a document describes.

    Raises:
        OwnedByController: a controller wrote it.
        NotFound: there is none.
    """
    lb_id = asked.lb_id(lb)
    stored = store.find(amphora, lb_id)
    if stored is None:
        _refuse_controllers(amphora, lb_id)
        raise NotFound("There is no such load balancer", f"no document of {lb!r}")
    return stored


def _require(amphora: Amphora, lb: str) -> None:
    """Refuse a load balancer that is nobody's; a controller's may be looked at.

    Raises:
        NotFound: there is none.
    """
    if not ownership.is_controllers(amphora.paths, asked.lb_id(lb)):
        own(amphora, lb)


def _refuse_controllers(amphora: Amphora, lb_id: LoadBalancerId) -> None:
    if ownership.is_controllers(amphora.paths, lb_id):
        raise OwnedByController("A controller owns this load balancer", "it has no document; adopt=true takes it over")
