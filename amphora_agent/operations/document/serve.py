"""Bring this amphora to what a document wants: secrets, HAProxy, LVS listeners and VRRP, as one change. Idempotent.

Whatever was there of the load balancer before, a half-made change included, ends as what is desired: so it applies,
rolls back and recovers. It remembers nothing.

Order: files first, since HAProxy checks what names them; what serves new clients before what stops serving old ones.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping

from amphora_agent.core.document.plan import PlannedStep
from amphora_agent.core.haproxy.change import Decision
from amphora_agent.core.ids import ListenerId, LoadBalancerId, PemName
from amphora_agent.host import files
from amphora_agent.operations import certificates, ownership
from amphora_agent.operations.actions import Action
from amphora_agent.operations.amphora import Amphora, Change
from amphora_agent.operations.document.desired import Desired
from amphora_agent.operations.haproxy import follow, instance, store, stored_files
from amphora_agent.operations.haproxy.instance import instance_of
from amphora_agent.operations.keepalived import lvs_listeners, vrrp

LOG = logging.getLogger(__name__)

VRRP_SUBJECT = "keepalived of the pair"


def bring_about(change: Change, lb_id: LoadBalancerId, desired: Desired) -> Decision | None:
    """Make what is desired what serves; return what it took of HAProxy, None when it has nothing to do with it.

    Raises:
        InvalidRequest: HAProxy or the firewall refuses the configuration.
        HostFailure: the machine failed; bring about something again.
    """
    _write_files(change, lb_id, desired)
    decision = _haproxy(change, lb_id, desired)
    # An LVS listener that goes takes its port with it, also out of the hands of another one.
    for listener_id in ownership.listeners_of(change.paths, lb_id):
        if listener_id not in desired.rendered.lvs:
            lvs_listeners.delete(change, listener_id)
    for listener_id, text in desired.rendered.lvs.items():
        _lvs_listener(change, lb_id, listener_id, text)
    _vrrp(change, lb_id, desired)
    return decision


def tidy(change: Change, lb_id: LoadBalancerId, desired: Desired) -> None:
    """Remove what nobody can ask back any more: files that the document before needed, HAProxy's own without one.

    Raises:
        HostFailure: something is still there; the same call finishes it.
    """
    if desired.haproxy is None:
        store.delete(change, lb_id)
    for path in files.matching(change.paths.loadbalancer(lb_id).certs, "[!.]*"):
        if path.name not in desired.files:
            certificates.delete(change, lb_id, PemName(path.name))


def clear_away(change: Change, lb_id: LoadBalancerId) -> None:
    """Stop and remove all that serves a load balancer.

    Raises:
        HostFailure: something is still there; the same call finishes it.
    """
    for listener_id in ownership.listeners_of(change.paths, lb_id):
        lvs_listeners.delete(change, listener_id)
    store.delete(change, lb_id)
    if ownership.vrrp_owner(change.paths) == lb_id:
        vrrp.remove(change)
    files.remove(change.paths.loadbalancer(lb_id).certs)


def foresee(amphora: Amphora, lb_id: LoadBalancerId, desired: Desired) -> Decision | None:
    """Return what it would take of HAProxy, None when it has nothing to do with it. Touches nothing."""
    if desired.haproxy is None:
        return None
    stored = stored_files.gather(amphora, desired.haproxy, desired.paths)
    return follow.look(amphora, instance_of(amphora, lb_id, desired.rendered.local_peer), stored).decision


def other_steps(
    amphora: Amphora, lb_id: LoadBalancerId, desired: Desired, names: Mapping[str, str]
) -> tuple[PlannedStep, ...]:
    """Return what is to be done besides HAProxy.

    Args:
        amphora: where.
        lb_id: of which load balancer.
        desired: what is wanted.
        names: LVS listener id -> name, of the documents before and after.
    """
    return tuple(_other_steps(amphora, lb_id, desired, names))


def _other_steps(
    amphora: Amphora, lb_id: LoadBalancerId, desired: Desired, names: Mapping[str, str]
) -> Iterator[PlannedStep]:
    if desired.haproxy is None and instance.exists(amphora, lb_id):
        yield PlannedStep("stop", "HAProxy")
    yield from _lvs_steps(amphora, lb_id, desired.rendered.lvs, names)
    yield from _vrrp_steps(amphora, lb_id, desired.rendered.vrrp)


def _lvs_steps(
    amphora: Amphora, lb_id: LoadBalancerId, wanted: Mapping[ListenerId, str], names: Mapping[str, str]
) -> Iterator[PlannedStep]:
    for listener_id, text in wanted.items():
        subject = f"listener {names.get(listener_id, listener_id)}"
        if not lvs_listeners.exists(amphora, listener_id):
            yield PlannedStep("serve", subject)
        elif lvs_listeners.stored_config(amphora, listener_id) != text.encode():
            yield PlannedStep("change", subject)
        elif not lvs_listeners.is_alive(amphora, listener_id):
            yield PlannedStep("start", subject)
    for listener_id in ownership.listeners_of(amphora.paths, lb_id):
        if listener_id not in wanted:
            yield PlannedStep("stop serving", f"listener {names.get(listener_id, listener_id)}")


def _vrrp_steps(amphora: Amphora, lb_id: LoadBalancerId, wanted: str | None) -> Iterator[PlannedStep]:
    stored = files.read_optional(amphora.paths.vrrp.config)
    if wanted is None:
        if ownership.vrrp_owner(amphora.paths) == lb_id:
            yield PlannedStep("stop", VRRP_SUBJECT)
    elif stored is None or not vrrp.is_alive(amphora):
        yield PlannedStep("start", VRRP_SUBJECT)
    elif stored != wanted.encode():
        yield PlannedStep("reload", VRRP_SUBJECT)


def _write_files(change: Change, lb_id: LoadBalancerId, desired: Desired) -> None:
    certs = change.paths.loadbalancer(lb_id)
    for name, data in desired.files.items():
        if files.read_optional(certs.cert(name)) != data:
            certificates.store(change, lb_id, name, data)


def _haproxy(change: Change, lb_id: LoadBalancerId, desired: Desired) -> Decision | None:
    if desired.haproxy is None:
        if instance.exists(change, lb_id):
            follow.perform(change, lb_id, Action.STOP)
        return None
    store.upload(change, desired.rendered.local_peer, lb_id, desired.haproxy.encode())
    return follow.perform(change, lb_id, Action.RELOAD).decision


def _lvs_listener(change: Change, lb_id: LoadBalancerId, listener_id: ListenerId, text: str) -> None:
    ownership.mark(change.paths.lvs(listener_id).document, lb_id)
    lvs_listeners.upload(change, listener_id, text.encode())
    lvs_listeners.perform(change, listener_id, Action.RELOAD)


def _vrrp(change: Change, lb_id: LoadBalancerId, desired: Desired) -> None:
    if desired.rendered.vrrp is None:
        if ownership.vrrp_owner(change.paths) == lb_id:
            vrrp.remove(change)
        return
    ownership.mark(change.paths.vrrp.document, lb_id)
    vrrp.upload(change, desired.rendered.vrrp.encode())
    vrrp.perform(change, Action.START)
