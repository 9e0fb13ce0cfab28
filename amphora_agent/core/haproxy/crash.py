"""Whether HAProxy crashed of a change at run time. Compares times; asks nothing."""

from __future__ import annotations

from amphora_agent.core.process_id import ProcessId
from amphora_agent.core.records.applied_config import AppliedConfig

# A worker that ends so soon after a runtime change is taken to have crashed of it.
CRASH_SECONDS = 600.0


def has_crashed(applied: AppliedConfig, running: ProcessId | None, now: float, ticks_per_second: int) -> bool:
    """Tell whether the worker that was changed at run time ended within ten minutes of it.

    Args:
        applied: the record of the last change.
        running: the current worker; it started when the other had ended.
        now: seconds since boot.
        ticks_per_second: unit of a process's start.
    """
    if applied.changed_at is None or applied.worker == running:
        return False
    ended = now if running is None else running.started / ticks_per_second
    return 0 <= ended - applied.changed_at < CRASH_SECONDS


def is_window_short(applied: AppliedConfig, now: float) -> bool:
    """Tell whether less than half of the crash window is left at `now` (seconds since boot)."""
    return applied.changed_at is None or not 0 <= now - applied.changed_at < CRASH_SECONDS / 2
