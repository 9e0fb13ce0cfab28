"""Whose a load balancer is. API 1.0 asks before it changes one, so that two masters never fight over it.

Decision: one owner per load balancer, the first who wrote it. What a document made is read-only to the controller's
API, and the other way round; a merge of two wills would surprise both.
"""

from __future__ import annotations

from pathlib import Path

from amphora_agent.core.ids import ListenerId, LoadBalancerId, is_id
from amphora_agent.core.keepalived.lvs_config import parse
from amphora_agent.core.paths import Paths
from amphora_agent.errors import Conflict
from amphora_agent.host import files
from amphora_agent.operations.amphora import Change
from amphora_agent.operations.inventory import lvs_listener_ids

_MARKER_MODE = 0o600


def has_document(paths: Paths, lb_id: LoadBalancerId) -> bool:
    """Tell whether a load balancer is API 2.0's, one that is being made or deleted included."""
    own = paths.document(lb_id)
    return files.exists(own.current) or files.exists(own.unfinished)


def is_controllers(paths: Paths, lb_id: LoadBalancerId) -> bool:
    """Tell whether a controller wrote this load balancer, or UDP and SCTP listeners of it alone."""
    is_there = files.is_file(paths.loadbalancer(lb_id).config) or bool(listeners_of(paths, lb_id))
    return is_there and not has_document(paths, lb_id)


def require_controllers(change: Change, lb_id: LoadBalancerId) -> None:
    """Refuse a change by API 1.0 of a load balancer, or of an LVS listener by its id, that a document made.

    Raises:
        Conflict: it is API 2.0's.
    """
    lvs = change.paths.lvs(ListenerId(lb_id))
    if is_id(lb_id) and (has_document(change.paths, lb_id) or files.exists(lvs.document)):
        raise Conflict("Owned by API 2.0", f"a document describes {lb_id}; change or delete that")


def require_controllers_listener(change: Change, listener_id: ListenerId, text: bytes) -> None:
    """Refuse an upload by API 1.0 of an LVS listener that a document made, or of one for a document's load balancer.

    Raises:
        Conflict: it is API 2.0's.
    """
    require_controllers(change, LoadBalancerId(listener_id))
    named = parse(text.decode("utf-8", "replace")).loadbalancer_id
    if named is not None:
        require_controllers(change, LoadBalancerId(named))


def require_controllers_vrrp(change: Change) -> None:
    """Refuse a change by API 1.0 of the pair's keepalived that a document made.

    Raises:
        Conflict: it is API 2.0's.
    """
    if files.exists(change.paths.vrrp.document):
        raise Conflict("Owned by API 2.0", "a document describes the pair; change or delete that")


def listeners_of(paths: Paths, lb_id: LoadBalancerId) -> tuple[ListenerId, ...]:
    """Return a load balancer's LVS listeners, sorted: those its document made, half-made ones too, or a controller."""
    markers = paths.lvs(ListenerId("any")).document
    marked = {path.parent.name for path in files.matching(markers.parent.parent, f"*/{markers.name}")}
    owned = {name for name in marked if is_id(name) and _owner(paths.lvs(ListenerId(name)).document) == lb_id}
    named = {each for each in lvs_listener_ids(paths) if each not in marked and _named_in(paths, each) == lb_id}
    return tuple(ListenerId(name) for name in sorted(owned | named))


def vrrp_owner(paths: Paths) -> LoadBalancerId | None:
    """Return the load balancer whose document made the pair's keepalived, None when none did."""
    return _owner(paths.vrrp.document)


def mark(path: Path, lb_id: LoadBalancerId) -> None:
    """Say whose something is, before it is made."""
    files.make_directory(path.parent, 0o700)
    files.write_if_changed(path, lb_id.encode(), _MARKER_MODE)


def _named_in(paths: Paths, listener_id: ListenerId) -> str | None:
    """Return the load balancer that a controller's listener is of, as its text says."""
    return parse((files.read_optional(paths.lvs(listener_id).config) or b"").decode("utf-8", "replace")).loadbalancer_id


def _owner(path: Path) -> LoadBalancerId | None:
    data = files.read_optional(path)
    return None if data is None else LoadBalancerId(data.decode("ascii", "replace"))
