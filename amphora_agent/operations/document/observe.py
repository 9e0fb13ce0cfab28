"""What serves a load balancer at this moment, for its status: HAProxy's and the kernel's own words. Changes nothing."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass

from amphora_agent.core.document.model import Document
from amphora_agent.core.document.place import Place, lvs_listeners
from amphora_agent.core.document.status import LastCheck, Role, last_checks
from amphora_agent.core.haproxy import config as haproxy_config
from amphora_agent.core.haproxy.observation import Memory, listener_ids
from amphora_agent.core.haproxy.observation import report as report_haproxy
from amphora_agent.core.heartbeat.document import Part
from amphora_agent.core.ids import ListenerId, LoadBalancerId
from amphora_agent.core.keepalived import vrrp_config
from amphora_agent.core.keepalived.lvs_config import parse as parse_lvs
from amphora_agent.core.paths import LoadBalancerPaths
from amphora_agent.core.records import removing
from amphora_agent.errors import HostFailure
from amphora_agent.host import files
from amphora_agent.host.haproxy.observe import Patience, master_pid, observe
from amphora_agent.host.haproxy.socket import query
from amphora_agent.host.keepalived import ipvs
from amphora_agent.host.keepalived.observe import part_of
from amphora_agent.host.network import netns, state
from amphora_agent.host.procfs import read_pid
from amphora_agent.operations.amphora import Amphora
from amphora_agent.operations.haproxy.instance import read_applied
from amphora_agent.operations.keepalived import lvs_listeners as lvs
from amphora_agent.operations.keepalived import vrrp

ASK_SECONDS = 2.0
# Servers of all proxies.
_CHECKS = "show stat -1 4 -1"


@dataclass(frozen=True, slots=True)
class Serving:
    """What is served, as heartbeats would say it, and the last check of each server."""

    part: Part
    checks: Mapping[tuple[str, str], LastCheck]


def look(amphora: Amphora, lb_id: LoadBalancerId, document: Document) -> Serving:
    """Return what of a document serves; what does not answer is left out."""
    identity = Place(lb_id, amphora.paths).identity
    haproxy = look_at_haproxy(amphora, lb_id)
    parts = [haproxy.part]
    parts += [_lvs_part(amphora, identity.listener(each.name)) for each in lvs_listeners(document)]
    part = Part(
        listeners={key: value for each in parts for key, value in each.listeners.items()},
        pools={key: value for each in parts for key, value in each.pools.items()},
    )
    return Serving(part, haproxy.checks)


def look_at_haproxy(amphora: Amphora, lb_id: LoadBalancerId) -> Serving:
    """Return what HAProxy serves of a load balancer, whoever wrote it."""
    own = amphora.paths.loadbalancer(lb_id)
    return Serving(_haproxy_part(own), _checks(own))


def _haproxy_part(own: LoadBalancerPaths) -> Part:
    applied = read_applied(own)
    if applied is None:
        return Part()
    observation = observe(own, master_pid(own), ASK_SECONDS, Patience())
    hidden = removing.decode(files.read_optional(own.removing)) or {}
    configured = listener_ids(haproxy_config.parse(applied.config))
    return report_haproxy(observation, configured, hidden, Memory())[0]


def _checks(own: LoadBalancerPaths) -> Mapping[tuple[str, str], LastCheck]:
    try:
        return last_checks(query(own.admin_socket, _CHECKS, ASK_SECONDS))
    except HostFailure:
        return {}


def _lvs_part(amphora: Amphora, listener_id: ListenerId) -> Part:
    if not lvs.exists(amphora, listener_id) or not lvs.is_alive(amphora, listener_id):
        return Part()
    paths = amphora.paths.lvs(listener_id)
    config = parse_lvs(lvs.stored_config(amphora, listener_id).decode("utf-8", "replace"))
    table = None
    with contextlib.suppress(HostFailure):
        table = ipvs.read(amphora.paths.netns)
    return part_of(paths, listener_id, config, pid=read_pid(paths.pid), table=table)


def role(amphora: Amphora) -> Role | None:
    """Return which of a pair this amphora is; None when it stands alone."""
    config = files.read_optional(amphora.paths.vrrp.config)
    if config is None:
        return None
    if not vrrp.is_alive(amphora):
        return Role.FAULT
    vips = vrrp_config.vips(config.decode("utf-8", "replace"))
    holders = netns.inside(amphora.paths.netns, lambda: state.holders_of(vips))
    return Role.MASTER if holders else Role.BACKUP
