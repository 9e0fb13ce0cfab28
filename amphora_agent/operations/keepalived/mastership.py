"""Give the VIP away at once when HAProxy cannot be kept running, and ask for it again when it can.

Decision: resigning means stopping keepalived. It says goodbye to its peer, which takes the VIP within a second; a
failing check would take ten. The amphora sends no heartbeats meanwhile, so a lasting failure ends in its replacement,
which is right for an amphora that cannot serve. The controller's own start and stop have the last word.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import assert_never

from amphora_agent.core.ids import LoadBalancerId
from amphora_agent.core.keepalived.mastership import Memory, Verdict, judge, running_pids
from amphora_agent.core.settings import Topology
from amphora_agent.host import files
from amphora_agent.host.haproxy.observe import master_pid
from amphora_agent.operations.amphora import Amphora, Change
from amphora_agent.operations.inventory import loadbalancer_ids
from amphora_agent.operations.keepalived import vrrp
from amphora_agent.operations.watchers import Until

LOG = logging.getLogger(__name__)

LOOK_INTERVAL = 0.25
# While nothing can change that nobody calls for: every HAProxy runs, or there is no mastership to lose.
IDLE_INTERVAL = 30.0
# Another operation may be about to change what we want to change; the next look decides anew.
LOCK_TIMEOUT = 0.1


class MastershipWatcher:
    """Remembers what it saw at its last look."""

    def __init__(self, amphora: Amphora) -> None:
        self._amphora = amphora
        self._memory: Memory = {}

    def look(self) -> float | Until:
        """Look once, act on it, and return until when the next look can wait."""
        now = time.monotonic()
        self._memory = look(self._amphora, self._memory, now)
        if not _may_be_master(self._amphora):
            return IDLE_INTERVAL
        running = running_pids(self._memory, now)
        if running is None or files.exists(self._amphora.paths.vrrp.resigned):
            return LOOK_INTERVAL
        return Until(IDLE_INTERVAL, running)


def _may_be_master(amphora: Amphora) -> bool:
    return amphora.topology is Topology.ACTIVE_STANDBY and files.exists(amphora.paths.vrrp.config)


def look(amphora: Amphora, memory: Memory, now: float) -> Memory:
    """Look once and act on it; return what to remember.

    Args:
        amphora: the amphora to look after.
        memory: of the previous look; empty at first.
        now: monotonic seconds.

    Raises:
        HostFailure: keepalived cannot be stopped or started; the next look tries again.
    """
    if not _may_be_master(amphora):
        return {}
    memory, verdict = judge(memory, _pids(amphora), now)
    if _needed(amphora, verdict) is None:
        return memory
    with amphora.changing_politely(LOCK_TIMEOUT) as change:
        if change is None:
            return memory
        # What held the lock may explain what was seen. At the same `now`, a HAProxy that is back is there from this
        # moment on, and the wait makes nothing that is still missing look missing for longer.
        memory, verdict = judge(memory, _pids(change), now)
        act = _needed(change, verdict)
        if act is not None:
            act(change)
    return memory


def _needed(amphora: Amphora, verdict: Verdict) -> Callable[[Change], None] | None:
    """Return what the verdict asks for and is not done yet; a stop that failed is tried again."""
    match verdict:
        case Verdict.UNFIT:
            return _resign if vrrp.is_alive(amphora) else None
        case Verdict.FIT:
            return _return if files.exists(amphora.paths.vrrp.resigned) else None
        case Verdict.UNCLEAR:
            return None
        case _:
            assert_never(verdict)


def _pids(amphora: Amphora) -> dict[LoadBalancerId, int | None]:
    """Return the master of each HAProxy that is wanted; None where there is none."""
    wanted = (amphora.paths.loadbalancer(lb_id) for lb_id in loadbalancer_ids(amphora.paths))
    return {own.lb_id: master_pid(own) for own in wanted if not files.exists(own.stopped)}


def _resign(change: Change) -> None:
    files.make_directory(change.paths.vrrp.agent, 0o700)
    files.write_atomic(change.paths.vrrp.resigned, b"")
    LOG.error("resigned the mastership: HAProxy cannot be kept running")
    vrrp.stop(change)


def _return(change: Change) -> None:
    if not vrrp.is_alive(change):
        vrrp.start(change)
        LOG.warning("asked for the mastership again: HAProxy runs")
    files.remove(change.paths.vrrp.resigned)
