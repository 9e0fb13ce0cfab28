"""Whether this amphora may hold the VIP, from what is seen of its HAProxies. Pure: time and pids are arguments.

Decision: keepalived's own check needs two failures five seconds apart. A HAProxy that is gone for a second, or was
started anew three times within ten, will not come back by itself; waiting longer is an outage for every client.
One crash is not enough: it is back in less time than the VIP takes to move.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum, auto

from amphora_agent.core.ids import LoadBalancerId

GRACE = 1.0
# An agent that has just started finds HAProxy still starting, perhaps with a large configuration.
FIRST_GRACE = 30.0
CRASH_WINDOW = 10.0
CRASHES = 3
SETTLED = 5.0


class Verdict(Enum):
    """What follows for the VIP."""

    FIT = auto()
    UNFIT = auto()
    UNCLEAR = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """What was seen of one HAProxy; times are monotonic seconds.

    `pid` is the last one seen, None if none was; `since` is when it came, or went while `is_there` is false.
    `restarts` are the times at which another pid came.
    """

    pid: int | None
    is_there: bool
    since: float
    restarts: tuple[float, ...] = ()


Memory = Mapping[LoadBalancerId, History]


def judge(memory: Memory, pids: Mapping[LoadBalancerId, int | None], now: float) -> tuple[Memory, Verdict]:
    """Return the new memory and the verdict.

    Args:
        memory: as returned by the previous call; empty at first.
        pids: HAProxy's master by load balancer that has to run, None where there is none.
        now: monotonic seconds.
    """
    seen = {lb_id: _look(memory.get(lb_id), pid, now) for lb_id, pid in pids.items()}
    if any(_is_lost(history, now) for history in seen.values()):
        return seen, Verdict.UNFIT
    return seen, Verdict.UNCLEAR if running_pids(seen, now) is None else Verdict.FIT


def running_pids(memory: Memory, now: float) -> tuple[int, ...] | None:
    """Return the masters when all of them have run for a while: nothing changes then until one ends. Else None."""
    settled = [history.pid for history in memory.values() if history.is_there and now - history.since >= SETTLED]
    return tuple(pid for pid in settled if pid is not None) if len(settled) == len(memory) else None


def _look(before: History | None, pid: int | None, now: float) -> History:
    if before is None:
        return History(pid=pid, is_there=pid is not None, since=now)
    recent = tuple(time for time in before.restarts if now - time < CRASH_WINDOW)
    if pid is None:
        return replace(before, is_there=False, since=before.since if not before.is_there else now, restarts=recent)
    if pid == before.pid:
        return replace(before, is_there=True, since=before.since if before.is_there else now, restarts=recent)
    restarts = recent if before.pid is None else (*recent, now)
    return History(pid=pid, is_there=True, since=now, restarts=restarts)


def _is_lost(history: History, now: float) -> bool:
    grace = FIRST_GRACE if history.pid is None else GRACE
    return (not history.is_there and now - history.since >= grace) or len(history.restarts) >= CRASHES
