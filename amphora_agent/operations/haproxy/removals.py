"""Servers removed at run time: hidden at once, deleted when their last connection is gone.

Decision: a removed server is put into maintenance and hidden from heartbeats at once, but deleted only when its last
connection is gone; a watcher retries for as long as that takes. No connection is cut. It costs one small file per load
balancer, read by the heartbeat, that lists the servers which wait.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from amphora_agent.core.haproxy.config import parse
from amphora_agent.core.haproxy.crash import is_window_short
from amphora_agent.core.haproxy.plan import Plan, is_removal_safe
from amphora_agent.core.haproxy.removals import deletable_with_care
from amphora_agent.core.haproxy.runtime import delete_server_if_there
from amphora_agent.core.haproxy.steps import AddServer, RemoveServer, ReplaceServer
from amphora_agent.core.ids import LoadBalancerId, is_id
from amphora_agent.core.paths import LoadBalancerPaths
from amphora_agent.core.records import applied_config, removing
from amphora_agent.core.records.applied_config import AppliedConfig
from amphora_agent.core.records.removing import Removing
from amphora_agent.errors import AgentError, HostFailure
from amphora_agent.host import files
from amphora_agent.host.haproxy.master import ask_worker
from amphora_agent.host.uptime import boot_seconds
from amphora_agent.operations.amphora import Amphora, Change
from amphora_agent.operations.haproxy.instance import read_applied
from amphora_agent.operations.haproxy.proxy import FAILURE, RunningProxy

LOG = logging.getLogger(__name__)

WATCHER = "removed servers"
INTERVAL = 2.0
# Whatever removes a server calls the watcher; this is for what a crash left.
IDLE_INTERVAL = 300.0


def read(path: Path) -> Removing:
    """Return the servers that wait for deletion; empty without a record that can be read."""
    return removing.decode(files.read_optional(path)) or {}


def _write(path: Path, waiting: Removing) -> None:
    left = {backend: names for backend, names in waiting.items() if names}
    if left:
        files.write_volatile(path, removing.encode(left))
    else:
        files.remove_volatile(path)


def forget(change: Change, lb_id: LoadBalancerId) -> None:
    """Forget which servers waited for deletion: a started or reloaded HAProxy has only those of the file."""
    files.remove_volatile(change.paths.loadbalancer(lb_id).removing)


def begin(proxy: RunningProxy, plan: Plan) -> Removing:
    """Record which servers will wait for deletion before it happens, and delete those that are wanted again.

    Returns: all that wait.

    Raises:
        HostFailure: one that is wanted again cannot be deleted yet.
    """
    before = read(proxy.removing)
    after = {backend: dict(names) for backend, names in before.items()}
    for step in plan.steps:
        match step:
            case RemoveServer(backend, name):
                after.setdefault(backend, {})[name] = boot_seconds()
            case AddServer(backend, server) | ReplaceServer(backend, server) if server.name in after.get(backend, ()):
                if not is_removal_safe(proxy.version):
                    raise HostFailure(FAILURE, f"{server.name} is still being removed")
                proxy.send(delete_server_if_there(backend, server.name))
                del after[backend][server.name]
            case _:
                continue
    if after != before:
        _write(proxy.removing, after)
    return {backend: names for backend, names in after.items() if names}


def delete_at_once(proxy: RunningProxy, waiting: Removing) -> None:
    """Delete those of the waiting servers that have no connection, where that is safe."""
    if waiting and is_removal_safe(proxy.version):
        _delete(proxy, waiting)


def look_after(amphora: Amphora) -> float:
    """Delete removed servers that are idle; return the seconds until the next look."""
    return INTERVAL if remove_idle(amphora) else IDLE_INTERVAL


def remove_idle(amphora: Amphora) -> int:
    """Delete waiting servers that have no connection left; return how many still wait.

    While something is being changed they are left for the next round: changes do not wait for this.
    """
    waiting = 0
    for lb_id in _waiting_ids(amphora):
        with amphora.changing_politely() as change:
            if change is None:
                return waiting + 1
            try:
                waiting += _remove_idle(change, lb_id)
            except (AgentError, OSError) as error:
                LOG.warning("cannot delete removed servers lb=%s: %s %s", lb_id, error, getattr(error, "detail", ""))
    return waiting


def _waiting_ids(amphora: Amphora) -> Iterator[LoadBalancerId]:
    for path in files.matching(amphora.paths.agent, "*/removing.json"):
        if is_id(path.parent.name):
            yield LoadBalancerId(path.parent.name)


def _remove_idle(change: Change, lb_id: LoadBalancerId) -> int:
    """Delete what can be deleted; return how many servers still wait."""
    own = change.paths.loadbalancer(lb_id)
    applied, worker, waiting = read_applied(own), ask_worker(own.admin_socket), read(own.removing)
    count = sum(len(names) for names in waiting.values())
    version = None if worker is None else worker.version
    if applied is None or applied.is_unfinished or version is None:
        return count
    now = boot_seconds()
    is_safe = is_removal_safe(version)
    deletable = waiting if is_safe else deletable_with_care(waiting, parse(applied.config), now)
    _extend_crash_window(own, applied, now)
    left = _delete(RunningProxy(socket=own.admin_socket, removing=own.removing, version=version), deletable)
    if left < count:
        LOG.info("deleted removed servers lb=%s deleted=%d waiting=%d", own.lb_id, count - left, left)
    return left


def _extend_crash_window(own: LoadBalancerPaths, applied: AppliedConfig, now: float) -> None:
    """Restart the crash window: deleting a server is a runtime change too."""
    if is_window_short(applied, now):
        files.write_volatile(own.applied, applied_config.encode(replace(applied, changed_at=now)))


def _delete(proxy: RunningProxy, deletable: Removing) -> int:
    """Try to delete each of these servers once; return how many servers still wait, others included."""
    before = read(proxy.removing)
    left = {backend: dict(names) for backend, names in before.items()}
    for backend, names in deletable.items():
        for name in names:
            command = delete_server_if_there(backend, name)
            if command.accepts(proxy.ask(command.text)):
                del left[backend][name]
    if left != before:
        _write(proxy.removing, left)
    return sum(len(names) for names in left.values())
