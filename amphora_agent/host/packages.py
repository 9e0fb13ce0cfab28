"""Versions of installed packages, as the package manager knows them; asked again only when it has run."""

from __future__ import annotations

import functools
import importlib.metadata
from collections.abc import Mapping
from pathlib import Path

from amphora_agent.errors import HostFailure
from amphora_agent.host.commands import run

DPKG_STATUS = Path("/var/lib/dpkg/status")
RPM_DATABASE = Path("/var/lib/rpm")
NAMES = ("keepalived", "ipvsadm")


def versions() -> Mapping[str, str]:
    """Return name -> version of the packages in `NAMES`; one that is not installed is missing."""
    return _versions(_changed(DPKG_STATUS), _changed(RPM_DATABASE))


@functools.lru_cache(maxsize=1)
def own_version() -> str:
    """Return the agent's own version, `unknown` when it is not installed as a package."""
    try:
        return importlib.metadata.version("amphora-agent")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


@functools.lru_cache(maxsize=1)
def _versions(dpkg: int, rpm: int) -> Mapping[str, str]:
    if dpkg:
        query = ["dpkg-query", "-W", "-f=${Package} ${Version}\\n", *NAMES]
    elif rpm:
        query = ["rpm", "-q", "--queryformat", "%{NAME} %{VERSION}\\n", *NAMES]
    else:
        return {}
    try:
        lines = (line.split() for line in run(query, timeout=10.0).output.splitlines())
    except HostFailure:
        return {}
    return {fields[0]: fields[1] for fields in lines if len(fields) == 2 and fields[0] in NAMES}


def _changed(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0
