"""Load and memory of the amphora as two metrics. Reads /proc; what it cannot read is left out."""

from __future__ import annotations

import contextlib
import os

from amphora_agent.core.metrics.exposition import header
from amphora_agent.core.metrics.names import LOADBALANCER_CPU, LOADBALANCER_MEMORY, Metric


def exposition(*, openmetrics: bool) -> bytes:
    """Return the lines of both gauges, with one decimal each.

    Source: proc(5): /proc/loadavg, /proc/meminfo.
    """
    written = []
    for metric, measure in ((LOADBALANCER_CPU, _cpu_percent), (LOADBALANCER_MEMORY, _memory_percent)):
        with contextlib.suppress(OSError, ValueError, KeyError, ZeroDivisionError):
            written.append(_gauge(metric, measure(), openmetrics=openmetrics))
    return b"".join(written)


def _gauge(metric: Metric, value: float, *, openmetrics: bool) -> bytes:
    lines = header(metric.name.encode(), metric.kind.encode(), metric.help.encode(), openmetrics=openmetrics)
    return lines + f"{metric.name} {value:.1f}\n".encode()


def _cpu_percent() -> float:
    with open("/proc/loadavg", encoding="ascii") as file:  # noqa: PTH123 - pathlib costs 1 MB
        return float(file.read(64).split()[0]) / (os.cpu_count() or 1) * 100


def _memory_percent() -> float:
    found = {}
    with open("/proc/meminfo", encoding="ascii") as file:  # noqa: PTH123 - as above
        for line in file:
            name, _, value = line.partition(":")
            if name in ("MemTotal", "MemAvailable"):
                found[name] = int(value.split()[0])
    return (found["MemTotal"] - found["MemAvailable"]) / found["MemTotal"] * 100
