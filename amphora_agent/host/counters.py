"""The counters file of the heartbeat process. A broken file never stops a heartbeat."""

from __future__ import annotations

import logging
from pathlib import Path

from amphora_agent.core.heartbeat.counters import Counters, render_counters, restore_counters
from amphora_agent.errors import HostFailure
from amphora_agent.host.files import read_optional, write_volatile

LOG = logging.getLogger(__name__)

MODE = 0o640


def load_counters(path: Path, started: int) -> Counters:
    """Return the stored counters, or what `restore_counters` makes of a file that is damaged or cannot be read.

    Args:
        path: the counters file.
        started: this process's start in clock ticks since boot.
    """
    try:
        data = read_optional(path)
    except HostFailure as error:
        LOG.error("%s: %s", error, error.detail)
        data = b""
    counters, is_whole = restore_counters(data, started)
    if not is_whole:
        LOG.error(
            "counters file is damaged path=%s listeners_kept=%d; counting of the others starts at the present values",
            path,
            len(counters.listeners),
        )
    return counters


def store_counters(path: Path, counters: Counters) -> None:
    """Replace the counters file: the absolute values up to which deltas are sent or about to be.

    Raises:
        HostFailure: the old one is still in place.
    """
    write_volatile(path, render_counters(counters), MODE)
