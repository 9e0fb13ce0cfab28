"""UDP and SCTP listeners: one keepalived each, which programs the kernel's IPVS table.

Decision: a changed configuration is applied by SIGHUP, and the outcome is read back from the kernel; what keepalived
left undone is repaired there, and only a service that is missing altogether costs a restart. So no client of another
member, and nobody at all at an identical upload, notices a change. A keepalived before 2.0.14 is restarted.

Decision: a server that is to go gets no new clients for WITHDRAWAL_SECONDS first. The kernel forgets a removed server's
clients at once, and without this answers that are under way never arrive (7 of 16,000 queries at 15 removals).
"""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import assert_never

from amphora_agent.core.ids import ListenerId, is_id
from amphora_agent.core.keepalived import lvs_change, lvs_config, process, vrrp_script
from amphora_agent.core.keepalived.ipvs import ServiceKey
from amphora_agent.core.network.sysctls import REQUIRED_SYSCTLS
from amphora_agent.core.records import listener_change
from amphora_agent.core.records.listener_change import ListenerChange
from amphora_agent.core.settings import Topology
from amphora_agent.errors import HostFailure, NotFound, reported_as
from amphora_agent.host import files
from amphora_agent.host.deadline import Deadline
from amphora_agent.host.keepalived import binary, ipvs
from amphora_agent.host.network import netns
from amphora_agent.host.uptime import boot_seconds
from amphora_agent.operations.actions import Action
from amphora_agent.operations.amphora import Amphora, Change
from amphora_agent.operations.inventory import lvs_listener_ids
from amphora_agent.operations.keepalived import life_cycle, vrrp
from amphora_agent.operations.keepalived.life_cycle import Keepalived
from amphora_agent.operations.network import interfaces

LOG = logging.getLogger(__name__)

SETTLE_DEADLINE = 3.0
LIFE_DEADLINE = 1.0
POLL_INTERVAL = 0.05
WITHDRAWAL_SECONDS = 0.25
_CONFIG_MODE = 0o644
# Readable by its owner too: the unit has no capability to read a file that its mode forbids.
_CHECK_MODE = 0o500


def stored_config(amphora: Amphora, listener_id: ListenerId) -> bytes:
    """Return the stored configuration.

    Raises:
        NotFound: there is no such listener.
    """
    data = files.read_optional(amphora.paths.lvs(listener_id).config) if is_id(listener_id) else None
    if data is None:
        raise NotFound("UDP Listener Not Found", f"No UDP listener with UUID: {listener_id}")
    return data


def exists(amphora: Amphora, listener_id: ListenerId) -> bool:
    """Tell whether there is such a listener."""
    return is_id(listener_id) and files.is_file(amphora.paths.lvs(listener_id).config)


def upload(change: Change, listener_id: ListenerId, body: bytes) -> None:
    """Store a configuration; keepalived is not touched, and an identical one changes nothing at all.

    Raises:
        HostFailure: the disk or the supervisor refused.
    """
    paths = change.paths
    install_check(change)
    files.make_directory(paths.lvs(listener_id).agent, 0o700)
    if files.read_optional(paths.lvs(listener_id).config) != body:
        _note_change(change, listener_id, is_applied=False)
        files.write_atomic(paths.lvs(listener_id).config, body, _CONFIG_MODE)
        LOG.info("stored a configuration listener=%s bytes=%d", listener_id, len(body))
    with reported_as("Error enabling octavia-keepalivedlvs service"):
        change.supervisor.enable(life_cycle.of_listener(paths, listener_id).unit)
    if change.topology is Topology.ACTIVE_STANDBY:
        vrrp.refresh_checks(change)


def install_check(change: Change) -> None:
    """Write the check of UDP members where it is missing or of another release."""
    path = change.paths.udp_check
    files.make_directory(path.parent)
    files.write_if_changed(path, vrrp_script.udp_check().encode(), _CHECK_MODE)


def perform(change: Change, listener_id: ListenerId, action: Action) -> None:
    """Start, stop or reload; start and reload both end with keepalived running the stored configuration.

    Raises:
        NotFound: no such listener.
        HostFailure: keepalived's own words in the detail.
    """
    text = stored_config(change, listener_id).decode("utf-8", "replace")
    keepalived = life_cycle.of_listener(change.paths, listener_id)
    verb = {Action.START: "start", Action.STOP: "stop", Action.RELOAD: "restart"}[action]
    with life_cycle.reported_with_log(change, keepalived, f"Failed to {verb} keepalivedlvs listener {listener_id}"):
        match action:
            case Action.STOP:
                _stop(change, listener_id, keepalived)
                return
            case Action.START | Action.RELOAD:
                _follow(change, listener_id, keepalived, text)
            case _:
                assert_never(action)
    if change.topology is Topology.SINGLE:
        interfaces.advertise(change, lvs_config.parse(text).vips)


def delete(change: Change, listener_id: ListenerId) -> None:
    """Stop keepalived and remove everything of the listener; what is gone already is fine.

    Raises:
        HostFailure: it could not be stopped or disabled; its configuration is still there.
    """
    paths = change.paths
    if not exists(change, listener_id):
        files.remove(paths.lvs(listener_id).agent)  # of one that was cut short
        return
    keepalived = life_cycle.of_listener(paths, listener_id)
    with reported_as("Error stopping keepalivedlvs"):
        _stop(change, listener_id, keepalived)
    with reported_as(f"Error disabling octavia-keepalivedlvs-{listener_id} service"):
        change.supervisor.disable(keepalived.unit)
    files.remove(paths.lvs(listener_id).config)
    files.remove(paths.lvs(listener_id).agent)
    if files.exists(paths.vrrp.check_script):
        vrrp.refresh_checks(change)
    LOG.info("deleted listener=%s", listener_id)


def is_alive(amphora: Amphora, listener_id: ListenerId) -> bool:
    """Tell whether the listener's keepalived runs, by its own pid file; that of another listener is not it."""
    return life_cycle.is_alive(life_cycle.of_listener(amphora.paths, listener_id))


def status(amphora: Amphora, listener_id: ListenerId) -> str:
    """Return ACTIVE, OFFLINE (not started, or nothing to serve) or ERROR (keepalived died)."""
    config = lvs_config.parse(stored_config(amphora, listener_id).decode("utf-8", "replace"))
    if not files.exists(amphora.paths.lvs(listener_id).pid) or not config.has_virtual_server:
        return "OFFLINE"
    return "ACTIVE" if is_alive(amphora, listener_id) else "ERROR"


def reassert_settings(change: Change) -> None:
    """Set the namespace's IPVS settings: they do not exist before the first service is made.

    Without them clients stick to a member that is gone.
    """
    wanted = {name: value for name, value in REQUIRED_SYSCTLS.items() if name.startswith("net/ipv4/vs/")}

    def write() -> None:
        for name, value in wanted.items():
            netns.write_sysctl(name, value)

    netns.inside(change.paths.netns, write)


def _follow(change: Change, listener_id: ListenerId, keepalived: Keepalived, text: str) -> None:
    """Bring the running keepalived to the stored configuration by the gentlest means."""
    config = lvs_config.parse(text)
    before = life_cycle.recorded(keepalived)
    life_cycle.end_others(change, keepalived)
    if not life_cycle.is_alive(keepalived):
        _restart(change, keepalived, reason="not running")
    elif life_cycle.was_given(keepalived, text):
        _note_change_is_over(change, listener_id)
        if _kernel_has(change, listener_id, config):
            LOG.info("left keepalived alone %s reason=it has this configuration", keepalived.name)
            return
        LOG.warning("IPVS lost what keepalived had made there %s", keepalived.name)
    elif process.can_reload(binary.installed_version()):
        _withdraw(change, listener_id, config)
        change.supervisor.reload(keepalived.unit)
        LOG.info("reloaded keepalived %s", keepalived.name)
    else:
        _restart(change, keepalived, reason="this version cannot reload")
    if not _settle(change, listener_id, config, None if before is None else lvs_config.parse(before.config)):
        _restart(change, keepalived, reason="a service is missing")
    reassert_settings(change)
    life_cycle.remember(keepalived, text)
    _note_change(change, listener_id, is_applied=True)


def _withdraw(change: Change, listener_id: ListenerId, config: lvs_config.LvsConfig) -> None:
    """Give no new client to servers that are to go, and let the answers that are under way arrive."""
    path = change.paths.netns
    try:
        steps = lvs_change.withdrawals(config, ipvs.read(path))
        ipvs.perform(path, steps)
    except HostFailure as error:
        LOG.warning("cannot withdraw servers listener=%s: %s: %s", listener_id, error, error.detail)
        return
    if steps:
        LOG.info("withdrew servers listener=%s count=%d", listener_id, len(steps))
        time.sleep(WITHDRAWAL_SECONDS)


def _note_change_is_over(change: Change, listener_id: ListenerId) -> None:
    """Forget that an upload waits to be applied: it went back to what is applied."""
    last = listener_change.decode(files.read_optional(change.paths.lvs(listener_id).changed))
    if last is not None and not last.is_applied:
        _note_change(change, listener_id, is_applied=True)


def _note_change(change: Change, listener_id: ListenerId, *, is_applied: bool) -> None:
    data = listener_change.encode(ListenerChange(boot_seconds(), is_applied))
    files.write_volatile(change.paths.lvs(listener_id).changed, data)


def _restart(change: Change, keepalived: Keepalived, *, reason: str) -> None:
    change.supervisor.stop(keepalived.unit)
    life_cycle.start(change, keepalived, reason)


def _settle(
    change: Change, listener_id: ListenerId, config: lvs_config.LvsConfig, before: lvs_config.LvsConfig | None
) -> bool:
    """Wait until the kernel has what the file says, and repair what keepalived does not; False: a service is missing.

    Where the kernel cannot be asked, a keepalived that lives on for a second is believed.

    Raises:
        HostFailure: keepalived ended.
    """
    others = _services_of_others(change, listener_id)
    path = change.paths.netns
    difference = lvs_change.Difference((), ())
    try:
        for _ in Deadline.after(SETTLE_DEADLINE).attempts(POLL_INTERVAL):
            difference = lvs_change.compare(config, before, others, ipvs.read(path))
            if difference.is_none:
                return True
        if difference.steps:
            LOG.warning("repairing IPVS listener=%s steps=%s", listener_id, difference.steps)
            ipvs.perform(path, difference.steps)
    except HostFailure as error:
        if config.services:
            LOG.warning("cannot verify IPVS listener=%s: %s: %s", listener_id, error, error.detail)
            _await_life(change, listener_id)
        return True
    return not difference.missing_services


def _kernel_has(change: Change, listener_id: ListenerId, config: lvs_config.LvsConfig) -> bool:
    """Tell whether the kernel still has what was made there; one that cannot be asked is believed."""
    try:
        table = ipvs.read(change.paths.netns)
    except HostFailure:
        return True
    return lvs_change.compare(config, None, _services_of_others(change, listener_id), table).is_none


def _await_life(amphora: Amphora, listener_id: ListenerId) -> None:
    for _ in Deadline.after(LIFE_DEADLINE).attempts(POLL_INTERVAL):
        if not is_alive(amphora, listener_id):
            raise HostFailure("cannot run keepalived", "it ended")


def _stop(change: Change, listener_id: ListenerId, keepalived: Keepalived) -> None:
    """Stop keepalived, and remove the services that one which was killed had left."""
    life_cycle.stop(change, keepalived)
    config = lvs_config.parse(stored_config(change, listener_id).decode("utf-8", "replace"))
    others = _services_of_others(change, listener_id)
    if not config.services or not netns.exists(change.paths.netns):
        return
    try:
        table = ipvs.read(change.paths.netns)
        left = tuple(lvs_change.RemoveService(key) for key in config.services if key in table and key not in others)
        if left:
            LOG.warning("removing services that keepalived had left listener=%s steps=%s", listener_id, left)
            ipvs.perform(change.paths.netns, left)
    except HostFailure as error:
        LOG.debug("cannot look for services left in IPVS listener=%s: %s", listener_id, error.detail)


def _services_of_others(amphora: Amphora, listener_id: ListenerId) -> frozenset[ServiceKey]:
    texts = (
        _read(amphora.paths.lvs(other).config) for other in lvs_listener_ids(amphora.paths) if other != listener_id
    )
    return frozenset(key for text in texts for key in lvs_config.parse(text).services)


def _read(path: Path) -> str:
    return (files.read_optional(path) or b"").decode("utf-8", "replace")
