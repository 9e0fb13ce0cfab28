"""Take a load balancer over from its controller, and give it back when the document cannot be applied.

Decision: a load balancer that is adopted keeps all that the controller had until the document is committed: its texts
in one record, its certificates where they are. Giving back is then an upload like any other, and no key is copied.
"""

from __future__ import annotations

import logging

from amphora_agent.core.document.adopted import Adopted
from amphora_agent.core.document.model import Document
from amphora_agent.core.ids import ListenerId, LoadBalancerId
from amphora_agent.host import files
from amphora_agent.operations import ownership
from amphora_agent.operations.actions import Action
from amphora_agent.operations.amphora import Amphora, Change
from amphora_agent.operations.haproxy import follow, instance, store
from amphora_agent.operations.haproxy.instance import instance_of
from amphora_agent.operations.keepalived import lvs_listeners, vrrp

LOG = logging.getLogger(__name__)


def look(amphora: Amphora, lb_id: LoadBalancerId, document: Document) -> Adopted | None:
    """Return what of a controller's a document would take over; None when this load balancer is no controller's."""
    if not ownership.is_controllers(amphora.paths, lb_id):
        return None
    own, takes_vrrp = amphora.paths.loadbalancer(lb_id), document.vrrp is not None
    listeners = ownership.listeners_of(amphora.paths, lb_id)
    return Adopted(
        haproxy=_text(files.read_optional(own.config)),
        peer=instance_of(amphora, lb_id).peer,
        is_stopped=files.exists(own.stopped),
        drained=_text(files.read_optional(own.drained)),
        listeners={each: lvs_listeners.stored_config(amphora, each).decode("utf-8", "replace") for each in listeners},
        vrrp=_text(files.read_optional(amphora.paths.vrrp.config)) if takes_vrrp else None,
    )


def give_back(change: Change, lb_id: LoadBalancerId, adopted: Adopted) -> None:
    """Bring about what the controller had.

    Raises:
        AgentError: it could not be; the same call finishes it.
    """
    _give_back_haproxy(change, lb_id, adopted)
    for listener_id in ownership.listeners_of(change.paths, lb_id):
        if listener_id not in adopted.listeners:
            lvs_listeners.delete(change, listener_id)
    for name, text in adopted.listeners.items():
        lvs_listeners.upload(change, ListenerId(name), text.encode())
        lvs_listeners.perform(change, ListenerId(name), Action.RELOAD)
    if ownership.vrrp_owner(change.paths) == lb_id:
        _give_back_vrrp(change, adopted.vrrp)
    LOG.warning("gave a load balancer back to its controller lb=%s", lb_id)


def _give_back_haproxy(change: Change, lb_id: LoadBalancerId, adopted: Adopted) -> None:
    if adopted.haproxy is None:
        store.delete(change, lb_id)
        return
    if instance.exists(change, lb_id) and _text(instance.stored_config(change, lb_id)) != adopted.haproxy:
        store.upload(change, adopted.peer, lb_id, adopted.haproxy.encode())
    if adopted.drained is not None:
        files.write_atomic(change.paths.loadbalancer(lb_id).drained, adopted.drained.encode())
    follow.perform(change, lb_id, Action.STOP if adopted.is_stopped else Action.RELOAD)


def _give_back_vrrp(change: Change, text: str | None) -> None:
    if text is None:
        vrrp.remove(change)
        return
    vrrp.upload(change, text.encode())
    vrrp.perform(change, Action.START)
    files.remove(change.paths.vrrp.document)


def _text(data: bytes | None) -> str | None:
    return None if data is None else data.decode("utf-8", "replace")
