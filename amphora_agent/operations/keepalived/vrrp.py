"""VRRP: the keepalived that holds the VIP, and the scripts by which it sees whether this amphora can serve.

Decision: a running keepalived is never restarted by us, and one that already has the stored configuration is left alone
altogether: each restart is a change of roles for two amphorae.
"""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import assert_never

import amphora_agent
from amphora_agent.core.addresses import Address
from amphora_agent.core.ids import LoadBalancerId
from amphora_agent.core.keepalived import vrrp_config, vrrp_script
from amphora_agent.core.network.model import RemoveAddress
from amphora_agent.core.settings import Topology
from amphora_agent.errors import HostFailure, reported_as
from amphora_agent.host import files
from amphora_agent.host.network import netlink, netns
from amphora_agent.host.uptime import boot_seconds
from amphora_agent.operations.actions import Action
from amphora_agent.operations.amphora import Amphora, Change
from amphora_agent.operations.inventory import loadbalancer_ids, lvs_listener_ids
from amphora_agent.operations.keepalived import life_cycle
from amphora_agent.operations.keepalived.life_cycle import Keepalived

LOG = logging.getLogger(__name__)

RELOAD_ALLOWANCE = 60.0
# Called when something changes that decides about the mastership, since it looks at nothing else meanwhile.
MASTERSHIP_WATCHER = "mastership"
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
    files.write_if_changed(paths.vrrp.config, body, _CONFIG_MODE)
    refresh_checks(change)
    with reported_as("Error enabling octavia-keepalived service"):
        change.supervisor.enable(life_cycle.of_vrrp(paths).unit)
    change.watchers.call(MASTERSHIP_WATCHER)
    LOG.info("stored a VRRP configuration bytes=%d", len(body))


def perform(change: Change, action: Action) -> Action:
    """Start, stop or reload keepalived and return what was done: a start of what runs is a reload.

    Returns once keepalived lives and has written its pid file, or is gone and its VIP with it.

    Raises:
        HostFailure: keepalived's own words in the detail.
    """
    keepalived = life_cycle.of_vrrp(change.paths)
    done = _deed(change, keepalived, action)
    with life_cycle.reported_with_log(change, keepalived, f"Failed to {done} octavia-keepalived service"):
        match done:
            case Action.START:
                start(change)
            case Action.RELOAD:
                _reload(change, keepalived)
            case Action.STOP:
                stop(change)
            case _:
                assert_never(done)
    files.remove(change.paths.vrrp.resigned)
    return done


def _deed(change: Change, keepalived: Keepalived, action: Action) -> Action:
    """Return what an action comes to, after mending what would mislead it."""
    with life_cycle.reported_with_log(change, keepalived, f"Failed to {action} octavia-keepalived service"):
        if life_cycle.end_others(change, keepalived) and action is Action.RELOAD:
            return Action.START
        life_cycle.mend_pid_file(change, keepalived)
    return Action.RELOAD if action is Action.START and life_cycle.is_alive(keepalived) else action


def is_alive(amphora: Amphora) -> bool:
    """Tell whether the VRRP keepalived runs, by its own pid file; an empty or garbled one means no."""
    return life_cycle.is_alive(life_cycle.of_vrrp(amphora.paths))


def stop(change: Change) -> None:
    """Stop keepalived and see to it that no VIP stays behind.

    Raises:
        HostFailure: it still runs.
    """
    life_cycle.stop(change, life_cycle.of_vrrp(change.paths))
    release_vips(change)


def remove(change: Change) -> None:
    """Stop keepalived and remove all of it but the checks; without it is fine.

    Raises:
        HostFailure: it still runs, or the disk refused.
    """
    stop(change)
    change.supervisor.disable(life_cycle.of_vrrp(change.paths).unit)
    files.remove(change.paths.vrrp.config)
    files.remove(change.paths.vrrp.agent)
    LOG.info("removed the VRRP configuration")


def start(change: Change) -> None:
    """Start keepalived.

    Raises:
        HostFailure: nothing was uploaded, or it does not come up.
    """
    keepalived = life_cycle.of_vrrp(change.paths)
    config = files.read_optional(keepalived.config)
    if config is None:
        raise HostFailure("cannot start keepalived", "no configuration was uploaded")
    life_cycle.start(change, keepalived, reason="it did not run")
    life_cycle.remember(keepalived, _text(config))


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
    serving = [lb_id for lb_id in stored if lb_id != leaving and not files.exists(paths.loadbalancer(lb_id).stopped)]
    sockets = [paths.loadbalancer(lb_id).stats_socket for lb_id in serving]
    has_lvs = bool(lvs_listener_ids(paths))
    text = vrrp_script.haproxy_check(check_command(), sockets, has_loadbalancer=bool(stored), has_lvs=has_lvs)
    files.make_directory(paths.vrrp.checks)
    files.write_if_changed(paths.vrrp.check_script, vrrp_script.check_script(paths.vrrp.checks).encode(), _SCRIPT_MODE)
    if text is None:
        files.remove(paths.vrrp.haproxy_check)
    else:
        files.write_if_changed(paths.vrrp.haproxy_check, text.encode(), _CHECK_MODE)
    if has_lvs:
        files.write_if_changed(
            paths.vrrp.lvs_check, vrrp_script.lvs_check(paths.lvs_directory).encode(), _LVS_CHECK_MODE
        )


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
        change.watchers.call(MASTERSHIP_WATCHER)


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


def _reload(change: Change, keepalived: Keepalived) -> None:
    config = files.read_optional(keepalived.config)
    if config is None or not life_cycle.is_alive(keepalived):
        raise HostFailure("cannot reload keepalived", "it is not running")
    if life_cycle.was_given(keepalived, _text(config)):
        LOG.info("left keepalived alone %s reason=it has this configuration", keepalived.name)
        return
    change.supervisor.reload(keepalived.unit)
    life_cycle.remember(keepalived, _text(config))
    LOG.info("reloaded keepalived %s", keepalived.name)


def _text(config: bytes) -> str:
    return config.decode("utf-8", "replace")
