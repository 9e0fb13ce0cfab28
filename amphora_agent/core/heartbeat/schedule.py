"""When heartbeats are due, so that those of a fleet stay spread over the interval. Pure: time is an argument."""

from __future__ import annotations

from hashlib import sha256


def phase_of(amphora_id: str) -> float:
    """Return the amphora's place in the interval, from 0 to below 1: the same at each start, any two are apart.

    Decision: from the id, not by chance, so that a restart of a whole fleet leaves each amphora in its place. Ids are
    random, so places are spread evenly; the two of a pair are as far apart as any two.
    """
    return int.from_bytes(sha256(amphora_id.encode()).digest()[:4], "big") / 2**32


def due_after_beat(due: float, now: float, interval: float) -> float:
    """Return when the next heartbeat is due: in step with the last, the ones that were missed are skipped."""
    return due + interval * (1 + max(0, int((now - due) // interval)))


def due_after_change(due: float, now: float, interval: float, changed: float) -> float:
    """Return when the next heartbeat is due once the interval is another one.

    The time that is left shrinks or grows as the interval does: a fleet that is told another interval at one moment
    stays spread, which it would not if all began to count at that moment.
    """
    return now + max(0.0, due - now) * changed / interval
