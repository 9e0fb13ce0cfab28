"""VRRP: the keepalived that holds the VIP, and the scripts by which it sees whether this amphora can serve.

Decision: a running keepalived is never restarted by us, and one that already has the stored configuration is left alone
altogether: each restart is a change of roles for two amphorae.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import assert_never

import amphora_agent
from amphora_agent.core.addresses import Address
from amphora_agent.core.ids import LoadBalancerId
from amphora_agent.core.keepalived import process as keepalived_process
from amphora_agent.core.keepalived import vrrp_config, vrrp_script
from amphora_agent.core.network.model import RemoveAddress
from amphora_agent.core.process_id import ProcessId
from amphora_agent.core.records import keepalived as keepalived_record
from amphora_agent.core.records.keepalived import KeepalivedRecord
from amphora_agent.core.settings import Topology
from amphora_agent.core.units import Unit
from amphora_agent.errors import HostFailure, reported_as
from amphora_agent.host import files
from amphora_agent.host.network import netlink, netns
from amphora_agent.host.procfs import is_program, process_start_time, read_pid, running_pid
from amphora_agent.host.uptime import boot_seconds
from amphora_agent.operations.actions import Action
from amphora_agent.operations.amphora import Amphora, Change
from amphora_agent.operations.inventory import loadbalancer_ids, lvs_listener_ids

LOG = logging.getLogger(__name__)

READY_DEADLINE = 20.0
POLL_INTERVAL = 0.02
RELOAD_ALLOWANCE = 60.0
_SCRIPT_MODE = 0o755
_CHECK_MODE = 0o644
# Readable by its owner too: the unit has no capability to read a file that its mode forbids.
_LVS_CHECK_MODE = 0o500
_CONFIG_MODE = 0o644


def upload(change: Change, body: bytes) -> None:
    """Store a VRRP configuration and the check scripts; keepalived is not touched.

    From now on heartbeats need a living keepalived.

    Raises:
        HostFailure: the disk or the supervisor refused.
    """
    paths = change.paths
    files.make_directory(paths.vrrp.checks)
    files.make_directory(paths.vrrp.agent, 0o700)
    _write(paths.vrrp.config, body, _CONFIG_MODE)
    refresh_checks(change)
    with reported_as("Error enabling octavia-keepalived service"):
        change.supervisor.enable(keepalived_process.vrrp_unit(paths))
    LOG.info("stored a VRRP configuration bytes=%d", len(body))


def perform(change: Change, action: Action) -> Action:
    """Start, stop or reload keepalived and return what was done: a start of what runs is a reload.

    Returns once keepalived lives and has written its pid file, or is gone and its VIP with it.

    Raises:
        HostFailure: keepalived's own words in the detail.
    """
    unit = keepalived_process.vrrp_unit(change.paths)
    _mend_pid_file(change, unit)
    done = Action.RELOAD if action is Action.START and is_alive(change) else action
    try:
        match done:
            case Action.START:
                _start(change, unit)
            case Action.RELOAD:
                _reload(change, unit)
            case Action.STOP:
                stop(change)
            case _:
                assert_never(done)
    except HostFailure as error:
        words = f"{error}: {error.detail}\n{change.supervisor.log_tail(unit)}".strip()
        raise HostFailure(f"Failed to {done} octavia-keepalived service", words) from error
    files.remove(change.paths.vrrp.resigned)
    return done


def is_alive(amphora: Amphora) -> bool:
    """Tell whether the VRRP keepalived runs, by its own pid file; an empty or garbled one means no."""
    paths = amphora.paths
    return running_pid(paths.vrrp.pid, keepalived_process.PROGRAM, paths.vrrp.config) is not None


def _mend_pid_file(change: Change, unit: Unit) -> None:
    """Write the pid file again when something has spoilt it: the heartbeat and the checks of others believe it."""
    pid = None if is_alive(change) else change.supervisor.main_pid(unit)
    if pid is not None and is_program(pid, keepalived_process.PROGRAM):
        LOG.warning("wrote the pid file of keepalived again pid=%d", pid)
        files.write_atomic(change.paths.vrrp.pid, f"{pid}\n".encode(), _CHECK_MODE)


def stop(change: Change) -> None:
    """Stop keepalived and see to it that no VIP stays behind.

    Raises:
        HostFailure: it still runs.
    """
    paths = change.paths
    change.supervisor.stop(keepalived_process.vrrp_unit(paths))
    files.remove_volatile(paths.vrrp.applied)
    files.remove(paths.vrrp.pid)
    release_vips(change)
    LOG.info("stopped keepalived of VRRP")


def start(change: Change) -> None:
    """Start keepalived.

    Raises:
        HostFailure: it does not come up.
    """
    _start(change, keepalived_process.vrrp_unit(change.paths))


def release_vips(change: Change) -> None:
    """Remove the VIPs that a killed keepalived left on their interface; failures are logged."""
    paths = change.paths
    vips = vrrp_config.vips((files.read_optional(paths.vrrp.config) or b"").decode("utf-8", "replace"))
    if not vips or not netns.exists(paths.netns):
        return
    try:
        left = netns.inside(paths.netns, lambda: _remove_here(vips))
    except HostFailure as error:
        LOG.error("cannot release the VIPs: %s: %s", error, error.detail)
        return
    if left:
        LOG.warning("removed VIPs that keepalived had left addresses=%s", ",".join(left))


def _remove_here(vips: frozenset[Address]) -> list[str]:
    with netlink.connect() as kernel:
        left = [RemoveAddress(index, found.address) for index, found in kernel.addresses() if found.address.ip in vips]
        for step in left:
            kernel.perform(step)
    return [str(step.address) for step in left]


def refresh_checks(change: Change, *, leaving: LoadBalancerId | None = None) -> None:
    """Write the scripts keepalived runs, where they differ from what this moment wants.

    Args:
        change: the amphora, locked.
        leaving: a load balancer that is being deleted.

    Raises:
        HostFailure: the disk refused.
    """
    paths = change.paths
    stored = loadbalancer_ids(paths)
    serving = [lb_id for lb_id in stored if lb_id != leaving and not paths.loadbalancer(lb_id).stopped.exists()]
    sockets = [paths.loadbalancer(lb_id).stats_socket for lb_id in serving]
    has_lvs = bool(lvs_listener_ids(paths))
    text = vrrp_script.haproxy_check(check_command(), sockets, has_loadbalancer=bool(stored), has_lvs=has_lvs)
    files.make_directory(paths.vrrp.checks)
    _write(paths.vrrp.check_script, vrrp_script.check_script(paths.vrrp.checks).encode(), _SCRIPT_MODE)
    if text is None:
        files.remove(paths.vrrp.haproxy_check)
    else:
        _write(paths.vrrp.haproxy_check, text.encode(), _CHECK_MODE)
    if has_lvs:
        _write(paths.vrrp.lvs_check, vrrp_script.lvs_check(paths.lvs_directory).encode(), _LVS_CHECK_MODE)


def record_wanted_state(change: Change, lb_id: LoadBalancerId, action: Action) -> None:
    """Record whether it should run and update keepalived's checks first.

    The record outlives this action: no later check expects a stopped load balancer to answer either.

    Raises:
        HostFailure: the disk refused.
    """
    paths = change.paths
    if action is Action.STOP:
        files.make_directory(paths.loadbalancer(lb_id).agent, 0o700)
        files.write_atomic(paths.loadbalancer(lb_id).stopped, b"")
    else:
        files.remove(paths.loadbalancer(lb_id).stopped)
    if change.topology is Topology.ACTIVE_STANDBY:
        refresh_checks(change)


@contextlib.contextmanager
def reloading(change: Change, lb_id: LoadBalancerId) -> Iterator[None]:
    """Have the check forgive HAProxy's silence for the length of the block, a minute at most."""
    if change.topology is not Topology.ACTIVE_STANDBY:
        yield
        return
    flag = change.paths.loadbalancer(lb_id).reloading
    until = boot_seconds() + RELOAD_ALLOWANCE
    files.write_volatile(flag, f"{until:.1f}\n".encode(), _CHECK_MODE)
    try:
        yield
    finally:
        files.remove_volatile(flag)


def check_command() -> tuple[str, ...]:
    """Return `haproxy-vrrp-check` without the installed script around it, which takes twice as long to start."""
    module = Path(amphora_agent.__file__).with_name("cmd") / "vrrp_check.py"
    return (sys.executable, "-IS", str(module))


def _start(change: Change, unit: Unit) -> None:
    paths = change.paths
    config = files.read_optional(paths.vrrp.config)
    if config is None:
        raise HostFailure("cannot start keepalived", "no configuration was uploaded")
    netns.ensure(paths.netns)
    files.remove(paths.vrrp.pid)
    change.supervisor.enable(unit)
    change.supervisor.start(unit)
    for _ in _until(READY_DEADLINE):
        if is_alive(change):
            _record(change, config)
            LOG.info("started keepalived of VRRP pid=%s", read_pid(paths.vrrp.pid))
            return
        if change.supervisor.main_pid(unit) is None:
            break
    raise HostFailure("cannot start keepalived", "it wrote no pid file")


def _reload(change: Change, unit: Unit) -> None:
    paths = change.paths
    config = files.read_optional(paths.vrrp.config)
    pid = read_pid(paths.vrrp.pid)
    if config is None or pid is None or not is_alive(change):
        raise HostFailure("cannot reload keepalived", "it is not running")
    applied = keepalived_record.decode(files.read_optional(paths.vrrp.applied))
    if applied is not None and applied == _applied(config, pid):
        LOG.info("left keepalived of VRRP alone reason=it has this configuration")
        return
    change.supervisor.reload(unit)
    _record(change, config)
    LOG.info("reloaded keepalived of VRRP pid=%d", pid)


def _record(change: Change, config: bytes) -> None:
    pid = read_pid(change.paths.vrrp.pid)
    applied = _applied(config, pid) if pid is not None else None
    if applied is not None:
        files.make_directory(change.paths.vrrp.agent, 0o700)
        files.write_volatile(change.paths.vrrp.applied, keepalived_record.encode(applied))


def _applied(config: bytes, pid: int) -> KeepalivedRecord | None:
    started = process_start_time(pid)
    return None if started is None else KeepalivedRecord(config.decode("utf-8", "replace"), ProcessId(pid, started))


def _write(path: Path, data: bytes, mode: int) -> None:
    """Write a file unless it has this content and mode already."""
    # The mode first: one that another release wrote may be unreadable without more capabilities than ours.
    if not path.is_file() or path.stat().st_mode & 0o777 != mode or files.read_optional(path) != data:
        files.write_atomic(path, data, mode)


def _until(seconds: float) -> Iterator[None]:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        yield
        time.sleep(POLL_INTERVAL)
