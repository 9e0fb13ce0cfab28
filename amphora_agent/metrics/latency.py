"""The file in which rsyslog keeps its counts of latencies, read at each scrape. Loaded only where there is one."""

from __future__ import annotations

import posix
import time

from amphora_agent.core.metrics.latency import Counts, parse

# Written every ten seconds; what is older was left by an rsyslog that no longer counts.
_STALE_SECONDS = 60.0
_LARGEST = 512 * 1024


def read(path: str) -> Counts:
    """Return what rsyslog counted, nothing if it does no longer.

    Where the file was set aside for its size, it is missing for ten seconds, and the one aside has the last counts.
    """
    aside = f"{path}.1"
    if min(_age(path), _age(aside)) > _STALE_SECONDS:
        return {}
    return parse(_end_of(aside) + _end_of(path))


def _age(path: str) -> float:
    try:
        return time.time() - posix.stat(path).st_mtime
    except OSError:
        return float("inf")


def _end_of(path: str) -> bytes:
    try:
        handle = posix.open(path, posix.O_RDONLY | posix.O_NOFOLLOW | posix.O_NONBLOCK | posix.O_CLOEXEC)
    except OSError:
        return b""
    try:
        return posix.pread(handle, _LARGEST, max(0, posix.fstat(handle).st_size - _LARGEST))
    except OSError:
        return b""
    finally:
        posix.close(handle)
