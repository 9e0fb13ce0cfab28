"""Facts about this machine for `details`: /proc and statvfs, in the units the contract wants. Read-only, cheap."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from pathlib import Path

from amphora_agent.errors import HostFailure

PROC = Path("/proc")
TUNED_PROFILE = Path("/etc/tuned/active_profile")
_PROFILE_MAX = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Cpu:
    """Jiffies since boot, all processors together. Source: proc(5), /proc/stat."""

    count: int
    total: int
    user: int
    system: int
    soft_irq: int


@dataclass(frozen=True, slots=True)
class Disk:
    """Bytes of the root file system."""

    used: int
    available: int


def hostname() -> str:
    """Return the machine's name."""
    return platform.node()


def cpu() -> Cpu:
    """Return processor times; `total` is the sum of every column of the first line."""
    jiffies = [int(part) for part in _read(PROC / "stat").split("\n", 1)[0].split()[1:]]
    return Cpu(count=os.cpu_count() or 1, total=sum(jiffies), user=jiffies[0], system=jiffies[2], soft_irq=jiffies[6])


def memory() -> dict[str, int]:
    """Return /proc/meminfo: name -> kB."""
    lines = (line.partition(":") for line in _read(PROC / "meminfo").splitlines())
    return {name: int(value.split()[0]) for name, _, value in lines if value.split()}


def load() -> list[str]:
    """Return the load averages over 1, 5 and 15 minutes, as the kernel writes them."""
    return _read(PROC / "loadavg").split()[:3]


def disk() -> Disk:
    """Return how full the root file system is."""
    stat = os.statvfs("/")
    return Disk(used=(stat.f_blocks - stat.f_bfree) * stat.f_frsize, available=stat.f_bavail * stat.f_frsize)


def active_tuned_profiles() -> str:
    """Return the active TuneD profiles, separated by blanks; empty without TuneD."""
    try:
        with TUNED_PROFILE.open(encoding="utf-8", errors="replace") as file:
            return file.read(_PROFILE_MAX).strip()
    except OSError:
        return ""


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError as error:
        raise HostFailure(f"cannot read {path}", str(error)) from error
