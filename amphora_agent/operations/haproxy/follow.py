"""Make the running HAProxy follow the stored files: decide what it takes, do it, record what then runs."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import assert_never

from amphora_agent.core.haproxy import config as haproxy_config
from amphora_agent.core.haproxy import memory as haproxy_memory
from amphora_agent.core.haproxy import process as haproxy_process
from amphora_agent.core.haproxy.change import Decision, Nothing, Permissions, Reload, Runtime, Start, Stored, decide
from amphora_agent.core.haproxy.endpoints import endpoints, shares_ports
from amphora_agent.core.haproxy.servers_state import filter_servers_state
from amphora_agent.core.haproxy.version import Version
from amphora_agent.core.ids import LoadBalancerId
from amphora_agent.core.process_id import ProcessId
from amphora_agent.core.records import applied_config, replaced_worker
from amphora_agent.core.records.applied_config import AppliedConfig
from amphora_agent.core.records.replaced_worker import ReplacedWorker
from amphora_agent.core.settings import Topology
from amphora_agent.errors import HostFailure, reported_as
from amphora_agent.host import files, machine, ports
from amphora_agent.host.haproxy import master as haproxy_master
from amphora_agent.host.haproxy.master import Serving
from amphora_agent.host.network import netns
from amphora_agent.host.procfs import takes_signal
from amphora_agent.operations import certificates, metrics_proxy
from amphora_agent.operations.actions import Action
from amphora_agent.operations.amphora import Amphora, Change
from amphora_agent.operations.haproxy import checks, drains, foreign, removals, runtime, stored_files
from amphora_agent.operations.haproxy.instance import Instance, instance_of, is_alive, read_applied, stored_config
from amphora_agent.operations.keepalived import vrrp
from amphora_agent.operations.network import interfaces

LOG = logging.getLogger(__name__)

STATE_TIMEOUT = 5.0


@dataclass(frozen=True, slots=True)
class Performed:
    """How an action ended: `started` when HAProxy was not running before a reload or start; a stop has no decision."""

    started: bool
    reason: str
    decision: Decision | None = None


@dataclass(frozen=True, slots=True)
class Situation:
    """Where an instance stands: what it was given, what may be done to it, what makes it follow the stored files."""

    applied: AppliedConfig | None
    permissions: Permissions
    decision: Decision


def perform(change: Change, lb_id: LoadBalancerId, action: Action) -> Performed:
    """Start, stop or reload; a reload of what does not run is a start, a start of what runs a reload.

    Returns once HAProxy is ready, or gone.

    Raises:
        NotFound: no such load balancer.
        HostFailure: HAProxy's own words in the detail; after a failed reload the old worker serves on.
    """
    config = stored_config(change, lb_id)
    instance = instance_of(change, lb_id)
    vrrp.record_wanted_state(change, lb_id, action)
    if action is Action.STOP:
        with reported_as("Error stoping haproxy"):  # the contract's spelling
            change.supervisor.stop(instance.unit)
            foreign.end(change, instance)
        files.remove_volatile(instance.paths.applied)
        LOG.info("stopped haproxy lb=%s", lb_id)
        return Performed(started=False, reason="asked to stop")
    stored = stored_files.gather(change, config.decode("utf-8", "replace"))
    performed = _follow(change, instance, stored)
    metrics_proxy.follow(change)
    if change.topology is Topology.SINGLE:
        interfaces.advertise(change, haproxy_config.vips(stored.parsed))
    return performed


def look(amphora: Amphora, instance: Instance, stored: Stored) -> Situation:
    """Return what it takes to get the running HAProxy to the stored files; touches nothing."""
    runs = is_alive(amphora, instance)
    worker = haproxy_master.ask_worker(instance.paths.admin_socket) if runs else None
    applied = read_applied(instance.paths)
    permissions = runtime.permissions(amphora, instance.paths, applied, worker)
    decision = decide(applied, stored, None if worker is None else worker.process, permissions, amphora.texts.parse)
    if isinstance(decision, Start) and runs:
        decision = Reload("HAProxy runs but does not answer")
    return Situation(applied, permissions, decision)


def _follow(change: Change, instance: Instance, stored: Stored) -> Performed:
    """Decide how the running HAProxy gets to the stored files, do it, and record what it then runs."""
    began = time.monotonic()
    now = look(change, instance, stored)
    decision, applied, version = now.decision, now.applied, now.permissions.version
    runtime.remember_reload_only(instance.paths, now.permissions.reload_only)
    if isinstance(decision, Runtime) and applied is not None and version is not None:
        decision = _change(change, instance, decision, applied, stored, version)
    match decision:
        case Nothing() | Runtime():
            pass
        case Start():
            checks.complete(change, instance.lb_id)
            _record(change, instance, stored, _start(change, instance, stored))
        case Reload():
            checks.complete(change, instance.lb_id)
            _refuse_taken_ports(change, instance, stored, applied)
            _record(change, instance, stored, _reload(change, instance, stored))
        case _:
            assert_never(decision)
    if not isinstance(decision, Nothing):
        drains.reassert(instance.paths, stored.parsed)
    certificates.remove_condemned(change, instance.lb_id, stored.digests.keys())
    change.changes.note(instance.lb_id, decision, time.monotonic() - began)
    return Performed(started=isinstance(decision, Start), reason=decision.reason, decision=decision)


def _change(
    change: Change, instance: Instance, decision: Runtime, applied: AppliedConfig, stored: Stored, version: Version
) -> Runtime | Reload:
    """Change the running HAProxy; return what is left to do: nothing, or a reload where the outcome is in doubt."""
    try:
        runtime.change_running(change, instance.paths, applied, stored, decision.plan, version)
    except HostFailure as error:
        LOG.warning("a change at run time did not succeed lb=%s: %s: %s", instance.lb_id, error, error.detail)
        return Reload(f"the change at run time did not succeed: {error.detail}")
    return decision


def _record(change: Change, instance: Instance, stored: Stored, worker: ProcessId) -> None:
    """Record what a started or reloaded worker runs: the files, and nothing that was changed before."""
    files.write_volatile(instance.paths.applied, applied_config.encode(stored.applied_to(worker)))
    removals.forget(change, instance.lb_id)


def _start(change: Change, instance: Instance, stored: Stored) -> ProcessId:
    netns.ensure(change.paths.netns)
    files.remove_volatile(instance.paths.servers_state)
    others = foreign.find(change, instance, endpoints(stored.parsed))
    if others.pids:
        process = ProcessId(others.pids[0], 0)
        _save_servers_state(instance, stored, Serving(process, instance.paths.stats_socket))
    try:
        change.supervisor.start(instance.unit)
        worker = haproxy_master.await_worker(instance.paths.admin_socket, lambda: is_alive(change, instance))
        foreign.retire(change, instance, others)
    except HostFailure as error:
        raise HostFailure("Error starting haproxy", _words(change, instance, error)) from error
    finally:
        if others.pids:
            files.remove_volatile(instance.paths.servers_state)
    return worker


def _reload(change: Change, instance: Instance, stored: Stored) -> ProcessId:
    """Reload what runs, whether it answers or not; return the new worker."""
    own = instance.paths
    _warn_of_memory(instance.lb_id, stored)
    serving = haproxy_master.find_serving(own)
    _save_servers_state(instance, stored, serving)
    pid = change.supervisor.main_pid(instance.unit)
    try:
        before = haproxy_master.await_master(
            own.master_socket, lambda: is_alive(change, instance), lambda: _takes_reload(change, instance)
        )
        with vrrp.reloading(change, instance.lb_id):
            _save_final_sample(instance, serving)
            change.supervisor.reload(instance.unit)
            return haproxy_master.await_reload(
                own,
                before,
                None if serving is None else serving.process,
                lambda: is_alive(change, instance),
                lambda: change.supervisor.reload(instance.unit),
            )
    except HostFailure as error:
        now = change.supervisor.main_pid(instance.unit)
        if now is None or now != pid:
            # It ended; a process that is there by now was started with the stored files.
            LOG.warning("haproxy ended while it was to be reloaded lb=%s: %s", instance.lb_id, error.detail)
            return _start(change, instance, stored)
        raise HostFailure("Error reloading haproxy", _words(change, instance, error)) from error
    finally:
        # Of this moment alone: a start weeks later must not believe what members were then.
        files.remove_volatile(own.servers_state)


def _refuse_taken_ports(change: Change, instance: Instance, stored: Stored, applied: AppliedConfig | None) -> None:
    """Refuse a reload that would fail for a port that others hold: HAProxy serves nobody while it tries.

    Raises:
        HostFailure: says which port, and who holds it; HAProxy was not touched.
    """
    if not shares_ports(stored.parsed):
        return
    if applied is not None and applied.config == stored.config:
        return
    before = frozenset() if applied is None else endpoints(haproxy_config.parse(applied.config))
    taken = ports.find_taken(change.paths.netns, endpoints(stored.parsed) - before)
    if taken:
        detail = "; ".join(str(each) for each in taken)
        LOG.error("left haproxy alone, for it could not bind lb=%s: %s", instance.lb_id, detail)
        raise HostFailure("Error reloading haproxy", f"cannot bind: {detail}")


def _takes_reload(change: Change, instance: Instance) -> bool:
    """Tell whether HAProxy takes the signal; one that has only just been started would die of it."""
    pid = change.supervisor.main_pid(instance.unit)
    return pid is not None and takes_signal(pid, instance.unit.reload_signal)


def _warn_of_memory(lb_id: LoadBalancerId, stored: Stored) -> None:
    """Warn if a second worker may not fit; never refuse."""
    needed = haproxy_memory.worker_bytes(stored.parsed)
    available = machine.memory().get("MemAvailable", 0) * 1024
    if needed > available:
        LOG.warning("a second worker may not fit into memory lb=%s needed=%d available=%d", lb_id, needed, available)


def _words(amphora: Amphora, instance: Instance, error: HostFailure) -> str:
    """Return why it failed: ours first, then HAProxy's own last words."""
    words = haproxy_process.last_words(amphora.supervisor.log_tail(instance.unit))
    return f"{error}: {error.detail}\n{words}".strip()


def _save_servers_state(instance: Instance, stored: Stored, serving: Serving | None) -> None:
    """Keep member states over a reload; without an answer the old file stays, and a reload goes on."""
    own = instance.paths
    if serving is None:
        LOG.warning("cannot save the servers' state lb=%s: no worker answers", instance.lb_id)
        return
    try:
        answer = serving.ask("show servers state", STATE_TIMEOUT)
        files.write_volatile(own.servers_state, filter_servers_state(answer, stored.parsed).encode())
    except HostFailure as error:
        LOG.warning("cannot save the servers' state lb=%s: %s %s", instance.lb_id, error, error.detail)


def _save_final_sample(instance: Instance, serving: Serving | None) -> None:
    """Keep what the worker has counted: it ends with the reload, and heartbeats would miss its last seconds."""
    if serving is None:
        return
    own = instance.paths
    try:
        stat = serving.ask("show stat -1 1 -1", STATE_TIMEOUT)
        files.write_volatile(own.replaced_worker, replaced_worker.encode(ReplacedWorker(serving.process, stat)))
    except HostFailure as error:
        LOG.warning("cannot keep the counters of a worker lb=%s: %s %s", instance.lb_id, error, error.detail)
