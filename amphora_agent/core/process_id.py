"""Which process it is that serves or counts: a pid alone may be another one's by now."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Worker:
    """One process. `started` is in clock ticks since boot; 0, 0 is an unknown one.

    Source: proc_pid_stat(5), field 22.
    """

    pid: int
    started: int


UNKNOWN = Worker(0, 0)
