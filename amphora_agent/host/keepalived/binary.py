"""The installed keepalived binary: which version it is."""

from __future__ import annotations

import functools
from pathlib import Path

from amphora_agent.core.keepalived.process import KEEPALIVED
from amphora_agent.errors import HostFailure
from amphora_agent.host.commands import check


def installed_version() -> str:
    """Return the first line keepalived prints about itself, empty when it does not run."""
    try:
        stat = Path(KEEPALIVED).stat()
        return _version((stat.st_ino, stat.st_mtime_ns))
    except (OSError, HostFailure):
        return ""


@functools.lru_cache(maxsize=1)
def _version(identity: tuple[int, int]) -> str:
    """Ask the binary once; an upgrade changes its identity."""
    del identity
    return check([KEEPALIVED, "--version"], timeout=10.0).partition("\n")[0]
