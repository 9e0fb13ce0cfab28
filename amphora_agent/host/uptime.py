"""How long this machine, or this container, has been up."""

from __future__ import annotations

import os
import time

from amphora_agent.host.procfs import process_start_time


def seconds_since_boot() -> float:
    """Return the age of process 1, which in a container is the container's; 0 when it cannot be told."""
    started = process_start_time(1)
    if started is None:
        return 0.0
    return time.clock_gettime(time.CLOCK_BOOTTIME) - started / os.sysconf("SC_CLK_TCK")
