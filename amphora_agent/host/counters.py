"""The counters file of the heartbeat process. A broken file never stops a heartbeat."""

from __future__ import annotations

import logging
from pathlib import Path

from amphora_agent.core.heartbeat.counters import Counters, parse_counters, render_counters
from amphora_agent.errors import HostFailure
from amphora_agent.host.files import read_optional, write_volatile

LOG = logging.getLogger(__name__)

MODE = 0o640


def load_counters(path: Path, started: int) -> Counters:
    """Return the stored counters.

    Decision: a missing file means that nothing was ever reported, so listeners are reported from 0. A file that is
    there but broken means that much was reported and we cannot know what: workers older than this process are
    counted from their first answer on. Billing traffic twice is worse than missing some.

    Args:
        path: the counters file.
        started: this process's start in clock ticks since boot.
    """
    try:
        data = read_optional(path)
    except HostFailure as error:
        LOG.error("%s: %s; counting starts at the present values", error, error.detail)
        return Counters(baseline=started)
    if data is None:
        return Counters()
    counters, is_sound = parse_counters(data)
    if is_sound:
        return counters
    LOG.error(
        "counters file is damaged path=%s listeners_kept=%d; counting of the others starts at the present values",
        path,
        len(counters.listeners),
    )
    return Counters(counters.listeners, started)


def store_counters(path: Path, counters: Counters) -> None:
    """Replace the counters file: what of the running workers' counts was reported, or what of it still is to be.

    Raises:
        HostFailure: the old one is still in place.
    """
    write_volatile(path, render_counters(counters), MODE)
