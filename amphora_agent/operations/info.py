"""What the amphora says of itself. Takes no lock and never fails for one odd load balancer."""

from __future__ import annotations

import contextlib
import logging
from dataclasses import dataclass

from amphora_agent.core.haproxy import config as haproxy_config
from amphora_agent.core.ids import LoadBalancerId
from amphora_agent.errors import AgentError, HostFailure, NotFound
from amphora_agent.host import files, machine, packages
from amphora_agent.host.haproxy import binary as haproxy_binary
from amphora_agent.host.network import netlink
from amphora_agent.operations import inventory
from amphora_agent.operations.amphora import Amphora
from amphora_agent.operations.change_record import Outcome
from amphora_agent.operations.haproxy import instance
from amphora_agent.operations.keepalived import lvs_listeners
from amphora_agent.operations.network import settling
from amphora_agent.operations.watchers import WatcherState

LOG = logging.getLogger(__name__)

API_VERSION = "1.0"
# Of SCTP listeners too: the contract knows no other word.
LVS_TYPE = "UDP"


@dataclass(frozen=True, slots=True, kw_only=True)
class Versions:
    """Versions of the amphora's programs; empty where a program is not installed, except HAProxy's."""

    hostname: str
    haproxy_version: str
    api_version: str
    keepalived_version: str
    ipvsadm_version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Details:
    """Versions and the facts of this moment, in the contract's units."""

    versions: Versions
    networks: dict[str, dict[str, int]]
    haproxy_count: int
    lvs_listener_process_count: int
    cpu: machine.Cpu
    memory: dict[str, int]
    disk: machine.Disk
    load: list[str]
    active_tuned_profiles: str
    listeners: list[str]
    changes: dict[str, int]
    last_changes: dict[LoadBalancerId, Outcome]
    watchers: dict[str, WatcherState]
    unsettled: list[str]


@dataclass(frozen=True, slots=True)
class Listener:
    """One listener as `GET listeners` shows it."""

    status: str
    uuid: str
    type: str


def versions(amphora: Amphora) -> Versions:
    """Return the versions; HAProxy's is that of the binary we start.

    Raises:
        HostFailure: HAProxy's binary does not run.
    """
    installed = packages.versions()
    return Versions(
        hostname=machine.hostname(),
        haproxy_version=str(haproxy_binary.installed_version(amphora.started.haproxy_cmd)),
        api_version=API_VERSION,
        keepalived_version=installed.get("keepalived", ""),
        ipvsadm_version=installed.get("ipvsadm", ""),
    )


def details(amphora: Amphora) -> Details:
    """Return everything the contract wants in `details`."""
    meminfo = machine.memory()
    lb_ids = inventory.loadbalancer_ids(amphora.paths)
    return Details(
        versions=versions(amphora),
        networks=_networks(amphora),
        haproxy_count=sum(_is_running(amphora, lb_id) for lb_id in lb_ids),
        lvs_listener_process_count=sum(
            lvs_listeners.is_alive(amphora, listener_id) for listener_id in inventory.lvs_listener_ids(amphora.paths)
        ),
        cpu=machine.cpu(),
        memory={
            key: meminfo.get(name, 0)
            for key, name in (
                ("total", "MemTotal"),
                ("free", "MemFree"),
                ("buffers", "Buffers"),
                ("cached", "Cached"),
                ("swap_used", "SwapCached"),
                ("shared", "Shmem"),
                ("slab", "Slab"),
            )
        },
        disk=machine.disk(),
        load=machine.load(),
        active_tuned_profiles=machine.active_tuned_profiles(),
        listeners=sorted(listener.uuid for listener in listeners(amphora)),
        changes=dict(amphora.changes.counts),
        last_changes=dict(amphora.changes.last),
        watchers=amphora.watchers.states(),
        unsettled=_unsettled(amphora),
    )


def _is_running(amphora: Amphora, lb_id: LoadBalancerId) -> bool:
    """Tell whether HAProxy runs; a supervisor that does not say is no reason to say nothing at all."""
    try:
        return instance.is_running(amphora, lb_id)
    except HostFailure as error:
        LOG.warning("cannot tell whether haproxy runs lb=%s: %s: %s", lb_id, error, error.detail)
        return False


def listeners(amphora: Amphora) -> tuple[Listener, ...]:
    """Return every listener of every load balancer that can be read."""
    found: list[Listener] = []
    for lb_id in inventory.loadbalancer_ids(amphora.paths):
        found.extend(_haproxy_listeners(amphora, lb_id))
    for listener_id in inventory.lvs_listener_ids(amphora.paths):
        with contextlib.suppress(NotFound):  # deleted meanwhile
            found.append(Listener(lvs_listeners.status(amphora, listener_id), listener_id, LVS_TYPE))
    return tuple(found)


def _haproxy_listeners(amphora: Amphora, lb_id: LoadBalancerId) -> list[Listener]:
    data = files.read_optional(amphora.paths.loadbalancer(lb_id).config) or b""
    config = haproxy_config.parse(data.decode("utf-8", "replace"))
    return [
        Listener("ACTIVE", frontend.id, "TERMINATED_HTTPS" if frontend.is_terminated_https else frontend.mode.upper())
        for frontend in haproxy_config.frontends(config)
        if frontend.mode is not None
    ]


def _unsettled(amphora: Amphora) -> list[str]:
    """Return what of the interfaces is not as desired yet, in words."""
    try:
        return [str(each) for each in settling.unsettled_now(amphora.paths)]
    except AgentError:
        return []


def _networks(amphora: Amphora) -> dict[str, dict[str, int]]:
    try:
        counters = netlink.link_counters(amphora.paths.netns)
    except HostFailure:
        return {}
    return {name: {"network_tx": link.sent, "network_rx": link.received} for name, link in counters.items()}
