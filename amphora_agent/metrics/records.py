"""The records other processes left, read anew at each scrape. Never writes; an odd file is as good as none."""

from __future__ import annotations

import posix

from amphora_agent.core.metrics.own import EVERY
from amphora_agent.core.metrics.record import parse

LARGEST = 1024 * 1024
_FLAGS = posix.O_RDONLY | posix.O_NOFOLLOW | posix.O_NONBLOCK | posix.O_CLOEXEC
_KNOWN = frozenset(metric.name for metric in EVERY)


def read(directory: str) -> dict[bytes, bytes]:
    """Return metric name -> sample lines of all records in a directory; empty when there is none."""
    found: dict[bytes, bytes] = {}
    try:
        names = sorted(posix.listdir(directory))
    except OSError:
        names = []
    for name in names:
        if name.startswith("."):
            continue
        for metric, lines in parse(_content(f"{directory}/{name}"), _KNOWN).items():
            found[metric] = found.get(metric, b"") + lines
    return found


def _content(path: str) -> bytes:
    try:
        handle = posix.open(path, _FLAGS)
    except OSError:
        return b""
    try:
        return posix.read(handle, LARGEST)
    except OSError:  # a directory, for example
        return b""
    finally:
        posix.close(handle)
