"""The installed HAProxy: which version the binary is, and in which group its workers run."""

from __future__ import annotations

import functools
import grp
import shutil
from pathlib import Path

from amphora_agent.core.haproxy.version import Version, parse_version
from amphora_agent.errors import HostFailure
from amphora_agent.host.commands import check


def installed_version(command: str) -> Version:
    """Return the version of the binary, which is not necessarily the running process's.

    Args:
        command: path or name of the binary.

    Raises:
        HostFailure: it does not run, or prints no version.
    """
    return _version(*identity(command))


def identity(command: str) -> tuple[str, tuple[int, int]]:
    """Return the path of the binary, and what tells it from another one at the same path.

    Raises:
        HostFailure: there is none.
    """
    path = shutil.which(command)
    if path is None:
        raise HostFailure(f"cannot run {command}", "no such program")
    try:
        stat = Path(path).stat()
    except OSError as error:
        raise HostFailure(f"cannot run {command}", error.strerror or str(error)) from error
    return path, (stat.st_ino, stat.st_mtime_ns)


def worker_group() -> str:
    """Return the group workers run in: Debian's name where it exists, Red Hat's otherwise."""
    try:
        return grp.getgrnam("nogroup").gr_name
    except KeyError:
        return "haproxy"


@functools.lru_cache(maxsize=4)
def _version(command: str, identity: tuple[int, int]) -> Version:
    """Ask the binary once; an upgrade changes its identity."""
    del identity
    output = check([command, "-v"], timeout=10.0)
    version = parse_version(output)
    if version is None:
        raise HostFailure(f"cannot read the version of {command}", output[:200])
    return version
