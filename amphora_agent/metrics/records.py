"""The records other processes left, read anew at each scrape. Never writes; an odd file is as good as none."""

from __future__ import annotations

import posix

from amphora_agent.core.metrics.own import EVERY, LATENCY_SOURCE
from amphora_agent.core.metrics.record import parse

LARGEST = 1024 * 1024
# What rsyslog writes is beside the records, and none.
LATENCY = "latency"
_SOURCE = LATENCY_SOURCE.name.encode()
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
        if name.startswith((".", LATENCY)):
            continue
        for metric, lines in parse(_content(f"{directory}/{name}"), _KNOWN).items():
            found[metric] = found.get(metric, b"") + lines
    if _SOURCE in found:
        has_counts = any(name.startswith(LATENCY) for name in names)
        _add_latencies(found, f"{directory}/{LATENCY}" if has_counts else "")
    return found


def _add_latencies(found: dict[bytes, bytes], path: str) -> None:
    """Add the histograms of the listeners that the agent named; without a path of counts, say that there are none."""
    if path:
        from amphora_agent.core.metrics.latency import histograms  # noqa: PLC0415 - memory that others need not spend
        from amphora_agent.metrics.latency import read as read_latencies  # noqa: PLC0415

        counts = read_latencies(path)
        if counts:
            found.update(histograms(found[_SOURCE], counts))
            return
    for word in (b"requests", b"sessions"):
        found[_SOURCE] = found[_SOURCE].replace(b'source="%s"' % word, b'source="no_statistics"')


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
