"""Which load balancers and LVS listeners are stored here. Reads directories; the files' existence is the definition."""

from __future__ import annotations

from amphora_agent.core.ids import ListenerId, LoadBalancerId, is_id
from amphora_agent.core.paths import Paths
from amphora_agent.host import files


def loadbalancer_ids(paths: Paths) -> tuple[LoadBalancerId, ...]:
    """Return every HAProxy load balancer with a stored configuration, sorted."""
    found = (path.parent.name for path in files.matching(paths.base, "*/haproxy.cfg"))
    return tuple(LoadBalancerId(name) for name in sorted(found) if is_id(name))


def lvs_listener_ids(paths: Paths) -> tuple[ListenerId, ...]:
    """Return every UDP and SCTP listener with a stored configuration, sorted."""
    pattern = paths.lvs(ListenerId("*")).config.name
    prefix, _, suffix = pattern.partition("*")
    names = (path.name for path in files.matching(paths.lvs_directory, pattern))
    found = (name.removeprefix(prefix).removesuffix(suffix) for name in names)
    return tuple(ListenerId(name) for name in sorted(found) if is_id(name))
