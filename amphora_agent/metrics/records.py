"""The records other processes left, read anew at each scrape. Never writes; an odd file is as good as none."""

from __future__ import annotations

import contextlib
import os

from amphora_agent.core.metrics.own import EVERY
from amphora_agent.core.metrics.record import parse

LARGEST = 1024 * 1024
_KNOWN = frozenset(metric.name for metric in EVERY)


def read(directory: str) -> dict[bytes, bytes]:
    """Return metric name -> sample lines of all records in a directory; empty when there is none."""
    found: dict[bytes, bytes] = {}
    with contextlib.suppress(OSError):
        for name in sorted(os.listdir(directory)):  # noqa: PTH208 - pathlib costs 1 MB
            if name.startswith("."):
                continue
            for metric, lines in parse(_content(f"{directory}/{name}"), _KNOWN).items():
                found[metric] = found.get(metric, b"") + lines
    return found


def _content(path: str) -> bytes:
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        return os.read(handle, LARGEST)
    except OSError:  # a directory, for example
        return b""
    finally:
        os.close(handle)
