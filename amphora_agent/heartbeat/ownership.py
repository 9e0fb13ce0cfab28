"""Which load balancers heartbeats tell of, where documents of API 2.0 describe some. Reads names alone.

Decision: a controller counts the listeners of a message, and replaces an amphora that reports another number than it
knows. So what documents describe is left out as soon as something on this amphora is a controller's. On an amphora
without a controller it is told of, for whoever listens.
"""

from __future__ import annotations

from collections.abc import Sequence

from amphora_agent.core.ids import ListenerId, LoadBalancerId, is_id
from amphora_agent.core.paths import Paths


def told_loadbalancers(paths: Paths, ids: Sequence[LoadBalancerId]) -> list[LoadBalancerId]:
    """Return those of the stored load balancers that a message is about."""
    if not paths.documents.exists() or not _has_controllers(paths):
        return list(ids)
    return [lb_id for lb_id in ids if not paths.document(lb_id).directory.exists()]


def told_listeners(paths: Paths, ids: Sequence[ListenerId]) -> list[ListenerId]:
    """Return those of the stored LVS listeners that a message is about."""
    if not paths.documents.exists() or not _has_controllers(paths):
        return list(ids)
    return [listener_id for listener_id in ids if not paths.lvs(listener_id).document.exists()]


def _has_controllers(paths: Paths) -> bool:
    """Tell whether something that is stored here is a controller's."""
    stored = (path.parent.name for path in paths.base.glob("*/haproxy.cfg"))
    if any(is_id(name) and not paths.document(LoadBalancerId(name)).directory.exists() for name in stored):
        return True
    prefix, _, suffix = paths.lvs(ListenerId("*")).config.name.partition("*")
    names = (path.name.removeprefix(prefix).removesuffix(suffix) for path in paths.lvs_directory.glob(f"*{suffix}"))
    return any(is_id(name) and not paths.lvs(ListenerId(name)).document.exists() for name in names)
