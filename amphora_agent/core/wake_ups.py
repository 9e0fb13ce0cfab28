"""When a process that has time wakes up: together with the others, so that an idle machine sleeps. Pure."""

from __future__ import annotations

# Seconds. Whoever waits for longer ends the wait at a multiple of it on the monotonic clock, which all processes share.
COMMON = 30.0


def aligned(seconds: float, now: float) -> float:
    """Return a pause of at most that many seconds; a long one is cut so that it ends when others' end, too.

    Args:
        seconds: of the pause.
        now: monotonic seconds.
    """
    if seconds < COMMON:
        return seconds
    return (now + seconds) // COMMON * COMMON - now or COMMON
