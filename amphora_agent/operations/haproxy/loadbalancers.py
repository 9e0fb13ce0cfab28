"""HAProxy load balancers: store a configuration, make the running HAProxy follow it, delete all of it.

Order of every change: validate, make durable, then touch the running process; what is on disk is always the truth.
"""

from __future__ import annotations

import grp
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import assert_never

from amphora_agent.core.haproxy import config as haproxy_config
from amphora_agent.core.haproxy import memory as haproxy_memory
from amphora_agent.core.haproxy import process as haproxy_process
from amphora_agent.core.haproxy.audit import unexpected_lines
from amphora_agent.core.haproxy.change import (
    Nothing,
    Reload,
    Runtime,
    Start,
    Stored,
    decide,
)
from amphora_agent.core.haproxy.servers_state import filter_servers_state
from amphora_agent.core.haproxy.version import Version
from amphora_agent.core.ids import AmphoraId, LoadBalancerId, is_id
from amphora_agent.core.process_id import ProcessId
from amphora_agent.core.records import applied_config, replaced_worker
from amphora_agent.core.records.applied_config import AppliedConfig
from amphora_agent.core.records.replaced_worker import ReplacedWorker
from amphora_agent.core.settings import Topology
from amphora_agent.core.units import Unit
from amphora_agent.errors import HostFailure, InvalidRequest, NotFound, reported_as
from amphora_agent.host import commands, files, machine
from amphora_agent.host.haproxy import binary as haproxy_binary
from amphora_agent.host.haproxy import master as haproxy_master
from amphora_agent.host.haproxy import socket as haproxy_socket
from amphora_agent.host.network import netns
from amphora_agent.operations import certificates, inventory
from amphora_agent.operations.actions import Action
from amphora_agent.operations.amphora import Amphora, Change
from amphora_agent.operations.haproxy import runtime as apply
from amphora_agent.operations.haproxy import stored_files
from amphora_agent.operations.keepalived import vrrp
from amphora_agent.operations.network import interfaces

LOG = logging.getLogger(__name__)

CHECK_TIMEOUT = 55.0
STATE_TIMEOUT = 5.0
MAX_SHOWN_LINES = 3
MAX_SHOWN_LINE = 120


@dataclass(frozen=True, slots=True)
class Performed:
    """How an action ended; `started` when HAProxy was not running before a reload or start."""

    started: bool
    reason: str


def stored_config(amphora: Amphora, lb_id: LoadBalancerId) -> bytes:
    """Return the stored configuration.

    Raises:
        NotFound: there is no such load balancer.
    """
    data = files.read_optional(amphora.paths.loadbalancer(lb_id).config) if is_id(lb_id) else None
    if data is None:
        raise NotFound("Loadbalancer Not Found", f"No loadbalancer with UUID: {lb_id}")
    return data


def exists(amphora: Amphora, lb_id: LoadBalancerId) -> bool:
    """Tell whether there is such a load balancer."""
    return is_id(lb_id) and amphora.paths.loadbalancer(lb_id).config.is_file()


def loadbalancer_ids(amphora: Amphora) -> tuple[LoadBalancerId, ...]:
    """Return every load balancer with a stored configuration, sorted."""
    return inventory.loadbalancer_ids(amphora.paths)


def upload(change: Change, amphora_id: AmphoraId, lb_id: LoadBalancerId, body: bytes) -> None:
    """Validate a configuration with HAProxy itself and store it; the running process is not touched.

    A rejected one is kept as `haproxy.cfg.new-failed`, and the one before it stays in force.

    Raises:
        InvalidRequest: not UTF-8, or HAProxy rejects it (its words in the detail).
        HostFailure: the disk or HAProxy's binary failed; nothing changed.
    """
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidRequest("Invalid request", f"the configuration is not UTF-8: {error.reason}") from error
    settings, paths = change.started, change.paths
    version = haproxy_binary.installed_version(settings.haproxy_cmd)
    config = haproxy_config.rewrite_for(text, version).encode()
    files.make_directory(paths.loadbalancer(lb_id).directory)
    files.make_directory(paths.loadbalancer(lb_id).agent, 0o700)
    candidate = paths.loadbalancer(lb_id).config.with_name("haproxy.cfg.new")
    peer = haproxy_config.peer_name(amphora_id)
    _write_companions(change, lb_id, version, peer)
    if files.read_optional(paths.loadbalancer(lb_id).config) != config or not _is_applied(change, lb_id):
        files.write_volatile(candidate, config)
        _check(change, lb_id, candidate, peer)
        _warn_of_the_unexpected(lb_id, config)
        files.rename_durable(candidate, paths.loadbalancer(lb_id).config)
    with reported_as("Error enabling octavia-keepalived service"):  # the contract's words
        change.supervisor.enable(_unit(change, lb_id, peer))
    LOG.info("stored a configuration lb=%s bytes=%d", lb_id, len(config))


def perform(change: Change, lb_id: LoadBalancerId, action: Action) -> Performed:
    """Start, stop or reload; a reload of what does not run is a start, a start of what runs a reload.

    Returns once HAProxy is ready, or gone.

    Raises:
        NotFound: no such load balancer.
        HostFailure: HAProxy's own words in the detail; after a failed reload the old worker serves on.
    """
    config = stored_config(change, lb_id)
    unit = _unit(change, lb_id, _stored_peer(change, lb_id))
    vrrp.follow_loadbalancer(change, lb_id, action)
    if action is Action.STOP:
        with reported_as("Error stoping haproxy"):  # the contract's spelling
            change.supervisor.stop(unit)
        files.remove_volatile(change.paths.loadbalancer(lb_id).applied)
        LOG.info("stopped haproxy lb=%s", lb_id)
        return Performed(started=False, reason="asked to stop")
    text = config.decode("utf-8", "replace")
    performed = _follow(change, lb_id, unit, text)
    if change.topology is Topology.SINGLE:
        interfaces.advertise(change, haproxy_config.vips(haproxy_config.parse(text)))
    return performed


def delete(change: Change, lb_id: LoadBalancerId) -> None:
    """Stop HAProxy and remove everything of the load balancer; one that is not there is fine.

    Raises:
        HostFailure: it could not be stopped; nothing was removed.
    """
    paths = change.paths
    if not paths.loadbalancer(lb_id).config.exists() and not paths.loadbalancer(lb_id).directory.exists():
        return
    unit = _unit(change, lb_id, _stored_peer(change, lb_id))
    if paths.vrrp.check_script.exists():
        vrrp.refresh_checks(change, leaving=lb_id)
    with reported_as("Error stopping haproxy"):
        change.supervisor.stop(unit)
    change.supervisor.disable(unit)
    for path in (
        paths.loadbalancer(lb_id).stats_socket,
        paths.loadbalancer(lb_id).certs,
        paths.loadbalancer(lb_id).agent,
        paths.loadbalancer(lb_id).directory,
    ):
        files.remove(path)
    change.changes.forget(lb_id)
    LOG.info("deleted lb=%s", lb_id)


def is_running(amphora: Amphora, lb_id: LoadBalancerId) -> bool:
    """Tell whether the load balancer's HAProxy runs."""
    return amphora.supervisor.main_pid(_unit(amphora, lb_id, "")) is not None


def _follow(change: Change, lb_id: LoadBalancerId, unit: Unit, text: str) -> Performed:
    """Decide how the running HAProxy gets to the stored files, do it, and record what it then runs."""
    paths = change.paths
    stored = stored_files.gather(text)
    is_alive = _is_alive(change, unit)
    running = haproxy_master.current_worker(paths.loadbalancer(lb_id).admin_socket) if is_alive else None
    applied = _applied(change, lb_id)
    permissions = apply.permissions(change, lb_id, applied, running)
    decision = decide(applied, stored, running, permissions)
    if isinstance(decision, Start) and is_alive:
        decision = Reload("HAProxy runs but does not answer")
    if isinstance(decision, Runtime) and applied is not None and permissions.version is not None:
        decision = _change(change, lb_id, decision, applied, stored, permissions.version)
    match decision:
        case Nothing() | Runtime():
            pass
        case Start():
            _record(change, lb_id, stored, _start(change, lb_id, unit))
        case Reload():
            _record(change, lb_id, stored, _reload(change, lb_id, unit, stored))
        case _:
            assert_never(decision)
    certificates.remove_condemned(change, lb_id, stored.digests.keys())
    change.changes.note(lb_id, decision)
    return Performed(started=isinstance(decision, Start), reason=decision.reason)


def _change(
    change: Change, lb_id: LoadBalancerId, decision: Runtime, applied: AppliedConfig, stored: Stored, version: Version
) -> Runtime | Reload:
    """Change the running HAProxy; return what is left to do: nothing, or a reload where the outcome is in doubt."""
    try:
        apply.change_running(change, lb_id, applied, stored, decision.plan, version)
    except HostFailure as error:
        LOG.warning("a change at run time did not succeed lb=%s: %s: %s", lb_id, error, error.detail)
        return Reload(f"the change at run time did not succeed: {error.detail}")
    return decision


def _record(change: Change, lb_id: LoadBalancerId, stored: Stored, worker: ProcessId) -> None:
    """Note what a started or reloaded worker runs: the files, and nothing that was changed before."""
    record = AppliedConfig(config=stored.config, digests=stored.digests, crt_lists=stored.crt_lists, worker=worker)
    files.write_volatile(change.paths.loadbalancer(lb_id).applied, applied_config.encode(record))
    apply.forget_removals(change, lb_id)


def _start(change: Change, lb_id: LoadBalancerId, unit: Unit) -> ProcessId:
    netns.ensure(change.paths.netns)
    files.remove_volatile(change.paths.loadbalancer(lb_id).servers_state)
    try:
        change.supervisor.start(unit)
        return haproxy_master.await_worker(
            change.paths.loadbalancer(lb_id).admin_socket, lambda: _is_alive(change, unit)
        )
    except HostFailure as error:
        raise HostFailure("Error starting haproxy", _words(change, unit, error)) from error


def _reload(change: Change, lb_id: LoadBalancerId, unit: Unit, stored: Stored) -> ProcessId:
    paths = change.paths
    _warn_of_memory(lb_id, stored.config)
    _save_servers_state(change, lb_id, stored.config)
    pid = change.supervisor.main_pid(unit)
    try:
        before = haproxy_master.await_master(paths.loadbalancer(lb_id).master_socket, lambda: _is_alive(change, unit))
        with vrrp.reloading(change, lb_id):
            _save_final_sample(change, lb_id)
            change.supervisor.reload(unit)
            return haproxy_master.await_reload(
                paths.loadbalancer(lb_id).master_socket,
                paths.loadbalancer(lb_id).admin_socket,
                before,
                lambda: _is_alive(change, unit),
            )
    except HostFailure as error:
        now = change.supervisor.main_pid(unit)
        if now is None or now != pid:
            # It ended; whoever is there by now was started with the stored files.
            LOG.warning("haproxy ended while it was to be reloaded lb=%s: %s", lb_id, error.detail)
            return _start(change, lb_id, unit)
        raise HostFailure("Error reloading haproxy", _words(change, unit, error)) from error
    finally:
        # Of this moment alone: a start weeks later must not believe what members were then.
        files.remove_volatile(paths.loadbalancer(lb_id).servers_state)


def _warn_of_the_unexpected(lb_id: LoadBalancerId, config: bytes) -> None:
    """Say so when a configuration holds lines no controller writes: a tenant's value may have become a directive."""
    unexpected = unexpected_lines(haproxy_config.parse(config.decode("utf-8", "replace")))
    if unexpected:
        shown = "; ".join(line[:MAX_SHOWN_LINE] for line in unexpected[:MAX_SHOWN_LINES])
        LOG.warning("unexpected lines in a configuration lb=%s count=%d: %s", lb_id, len(unexpected), shown)


def _warn_of_memory(lb_id: LoadBalancerId, text: str) -> None:
    """Say so when the next worker may not fit beside the old one; the operator's machine, not ours to refuse."""
    needed = haproxy_memory.worker_bytes(haproxy_config.parse(text))
    available = machine.memory().get("MemAvailable", 0) * 1024
    if needed > available:
        LOG.warning("a second worker may not fit into memory lb=%s needed=%d available=%d", lb_id, needed, available)


def _is_alive(amphora: Amphora, unit: Unit) -> bool:
    return amphora.supervisor.main_pid(unit) is not None


def _words(amphora: Amphora, unit: Unit, error: HostFailure) -> str:
    """Return why it failed: ours first, then HAProxy's own last words."""
    words = haproxy_process.last_words(amphora.supervisor.log_tail(unit))
    return f"{error}: {error.detail}\n{words}".strip()


def _save_servers_state(change: Change, lb_id: LoadBalancerId, text: str) -> None:
    """Keep member states over a reload; without an answer the old file stays, and a reload goes on."""
    try:
        answer = haproxy_socket.query(
            change.paths.loadbalancer(lb_id).admin_socket, "show servers state", STATE_TIMEOUT
        )
        state = filter_servers_state(answer.decode("utf-8", "replace"), haproxy_config.parse(text))
        files.write_volatile(change.paths.loadbalancer(lb_id).servers_state, state.encode())
    except HostFailure as error:
        LOG.warning("cannot save the servers' state lb=%s: %s %s", lb_id, error, error.detail)


def _save_final_sample(change: Change, lb_id: LoadBalancerId) -> None:
    """Keep what the worker has counted: it ends with the reload, and heartbeats would miss its last seconds."""
    paths = change.paths
    worker = haproxy_master.current_worker(paths.loadbalancer(lb_id).admin_socket)
    if worker is None:
        return
    try:
        stat = haproxy_socket.query(paths.loadbalancer(lb_id).admin_socket, "show stat -1 1 -1", STATE_TIMEOUT)
        record = ReplacedWorker(worker, stat.decode("utf-8", "replace"))
        files.write_volatile(paths.loadbalancer(lb_id).replaced_worker, replaced_worker.encode(record))
    except HostFailure as error:
        LOG.warning("cannot keep the counters of a worker lb=%s: %s %s", lb_id, error, error.detail)


def _check(change: Change, lb_id: LoadBalancerId, candidate: Path, peer: str) -> None:
    names_group = change.paths.user_group.exists()
    config_files = haproxy_process.config_files(change.paths, lb_id, candidate, image_names_group=names_group)
    argv = haproxy_process.check_argv(change.started.haproxy_cmd, config_files, peer)
    done = commands.run(argv, timeout=CHECK_TIMEOUT)
    if done.code != 0:
        files.rename_durable(candidate, candidate.with_name("haproxy.cfg.new-failed"))
        raise InvalidRequest("Invalid request", done.output)


def _write_companions(change: Change, lb_id: LoadBalancerId, version: Version, peer: str) -> None:
    """Write our second HAProxy file and the template unit's environment, where they differ."""
    paths, settings = change.paths, change.started
    names_group = paths.user_group.exists()
    group = None if names_group else _worker_group()
    own = haproxy_process.agent_config(paths, lb_id, settings, version, group=group)
    config_files = haproxy_process.config_files(
        paths, lb_id, paths.loadbalancer(lb_id).config, image_names_group=names_group
    )
    environment = haproxy_process.environment(paths, lb_id, settings.haproxy_cmd, config_files, peer)
    for path, text in (
        (paths.loadbalancer(lb_id).agent_config, own),
        (paths.loadbalancer(lb_id).environment, environment),
    ):
        if files.read_optional(path) != text.encode():
            files.write_atomic(path, text.encode())


def _worker_group() -> str:
    """Return the group workers run in: Debian's name where it exists, Red Hat's otherwise."""
    try:
        return grp.getgrnam("nogroup").gr_name
    except KeyError:
        return "haproxy"


def _unit(amphora: Amphora, lb_id: LoadBalancerId, peer: str) -> Unit:
    paths = amphora.paths
    config_files = haproxy_process.config_files(
        paths, lb_id, paths.loadbalancer(lb_id).config, image_names_group=paths.user_group.exists()
    )
    return haproxy_process.haproxy_unit(paths, lb_id, amphora.started.haproxy_cmd, config_files, peer)


def _stored_peer(amphora: Amphora, lb_id: LoadBalancerId) -> str:
    """Return the peer name of the last upload, or the one that follows from our own id where there was none."""
    data = files.read_optional(amphora.paths.loadbalancer(lb_id).environment) or b""
    peer = haproxy_process.environment_peer(data.decode("utf-8", "replace"))
    return peer or haproxy_config.peer_name(AmphoraId(amphora.started.amphora_id or ""))


def _is_applied(amphora: Amphora, lb_id: LoadBalancerId) -> bool:
    """Tell whether the stored text and every file it names are what HAProxy accepted last."""
    applied = _applied(amphora, lb_id)
    stored = files.read_optional(amphora.paths.loadbalancer(lb_id).config)
    if applied is None or stored is None:
        return False
    return applied.config.encode() == stored and applied.digests == stored_files.gather(applied.config).digests


def _applied(amphora: Amphora, lb_id: LoadBalancerId) -> AppliedConfig | None:
    return applied_config.decode(files.read_optional(amphora.paths.loadbalancer(lb_id).applied))
