"""Which process it is that serves or counts: a pid alone may be another one's by now."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ProcessId:
    """One process: its pid, and when it started in clock ticks since boot.

    Source: proc_pid_stat(5), field 22.
    """

    pid: int
    started: int
