"""The clock of process start times, and how long this machine, or this container, has been up."""

from __future__ import annotations

import os
import time

from amphora_agent.host.procfs import process_start_time


def boot_seconds() -> float:
    """Return seconds since boot, suspended time included, which no set clock moves; /proc counts starts by it."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def machine_age() -> float:
    """Return the seconds since process 1 started, which in a container is the container's; 0 when it cannot be told."""
    started = process_start_time(1)
    if started is None:
        return 0.0
    return boot_seconds() - started / os.sysconf("SC_CLK_TCK")
