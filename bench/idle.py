"""What an agent uses while nobody asks anything of it: CPU time, and how often it wakes up. Every loop is bounded."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from bench import processes
from bench.arena import LISTENER, arena, configuration, member_ids
from bench.contestants import Contestant

MINUTES = 2
SETTLE_SECONDS = 35.0
# What runs within this time of what ran before belongs to the same wake-up.
QUIET_SECONDS = 0.02
_LOOK_SECONDS = 0.004
EVERY_TEN_SECONDS = {"health_manager": {"heartbeat_interval": "10"}}


def idle(contestant: Contestant) -> dict[str, float]:
    """CPU time and wake-ups per minute of all the agent's processes: one load balancer, a heartbeat every 10 s."""
    with arena(contestant, EVERY_TEN_SECONDS) as place:
        place.apply(configuration(place.amphora, member_ids(2)))
        place.heartbeats.receive_until(lambda message: LISTENER in message["listeners"], timeout=60)
        time.sleep(SETTLE_SECONDS)
        before = processes.cpu_seconds(place.amphora.agent_pids())
        wake_ups = _wake_ups(place.amphora.agent_pids, MINUTES * 60.0)
        used = processes.cpu_seconds(place.amphora.agent_pids()) - before
    return {"idle cpu": used / MINUTES, "idle wake-ups": wake_ups / MINUTES}


def _wake_ups(pids: Callable[[], Iterable[int]], seconds: float) -> int:
    """Count how often any of the processes ran after all of them had slept for a while."""
    with contextlib.ExitStack() as stack:
        counters = [
            stack.enter_context((task / "schedstat").open("rb", buffering=0))
            for pid in pids()
            for task in Path(f"/proc/{pid}/task").iterdir()
        ]
        return sum(_awakenings(lambda: [_runs(counter.fileno()) for counter in counters], seconds))


def _runs(descriptor: int) -> bytes:
    with contextlib.suppress(OSError):
        return os.pread(descriptor, 64, 0).rpartition(b" ")[2]
    return b""


def _awakenings(look: Callable[[], list[bytes]], seconds: float) -> Iterator[bool]:
    """Yield at each look whether something ran after a quiet time."""
    before, last_run = look(), -QUIET_SECONDS
    end = time.monotonic() + seconds
    while (now := time.monotonic()) < end:
        seen = look()
        if seen != before:
            yield now - last_run > QUIET_SECONDS
            before, last_run = seen, now
        time.sleep(_LOOK_SECONDS)
