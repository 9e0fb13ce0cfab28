"""What the kernel knows, as metrics of a scrape. Reads /proc and asks for flags; what it cannot read is left out."""

from __future__ import annotations

import fcntl
import posix
from _socket import AF_INET, SOCK_DGRAM, socket
from collections.abc import Callable, Iterator

from amphora_agent.core.metrics.exposition import header_of
from amphora_agent.core.metrics.names import LOADBALANCER_CPU, LOADBALANCER_MEMORY, Metric
from amphora_agent.core.metrics.own import (
    CONNTRACK_ENTRIES,
    CONNTRACK_LIMIT,
    CPU_STEAL,
    INTERFACE_UP,
    LISTEN_OVERFLOWS,
    SOFTNET_DROPPED,
    TCP_MEMORY,
)
from amphora_agent.core.metrics.record import sample

_LARGEST_FILE = 256 * 1024
_CONNTRACK = "/proc/sys/net/netfilter/nf_conntrack_"
# Source: linux/sockios.h, linux/if.h.
_SIOCGIFFLAGS, _IFF_UP, _IFF_RUNNING = 0x8913, 0x1, 0x40


def loadbalancer(*, openmetrics: bool) -> bytes:
    """Return the contract's two gauges, in percent with one decimal, with which a scrape begins.

    Source: proc(5): /proc/loadavg, /proc/meminfo.
    """
    written = []
    for metric, measure in ((LOADBALANCER_CPU, _cpu_percent), (LOADBALANCER_MEMORY, _memory_percent)):
        try:
            written += [header_of(metric, openmetrics=openmetrics), f"{metric.name} {measure():.1f}\n".encode()]
        except (OSError, ValueError, KeyError, ZeroDivisionError):
            pass
    return b"".join(written)


def samples() -> dict[bytes, bytes]:
    """Return metric name -> sample lines of everything else, of the network namespace this process is in."""
    found = {}
    for metric, measure in _MEASURES:
        try:
            found[metric.name.encode()] = sample(metric, (), measure()).encode()
        except (OSError, ValueError, IndexError, KeyError):
            pass
    try:
        found[INTERFACE_UP.name.encode()] = "".join(_interfaces()).encode()
    except (OSError, ValueError):
        pass
    return found


def _cpu_percent() -> float:
    return float(_read("/proc/loadavg").split()[0]) / (posix.cpu_count() or 1) * 100


def _memory_percent() -> float:
    lines = (line.split() for line in _read("/proc/meminfo").splitlines())
    found = {words[0]: int(words[1]) for words in lines if words[0] in ("MemTotal:", "MemAvailable:")}
    return (found["MemTotal:"] - found["MemAvailable:"]) / found["MemTotal:"] * 100


def _steal_seconds() -> float:
    return int(_read("/proc/stat").split("\n", 1)[0].split()[8]) / posix.sysconf("SC_CLK_TCK")


def _softnet_dropped() -> int:
    return sum(int(line.split()[1], 16) for line in _read("/proc/net/softnet_stat").splitlines())


def _tcp_memory() -> int:
    words = next(line for line in _read("/proc/net/sockstat").splitlines() if line.startswith("TCP:")).split()
    return int(words[words.index("mem") + 1]) * posix.sysconf("SC_PAGE_SIZE")


def _listen_overflows() -> int:
    names, values = (line.split() for line in _read("/proc/net/netstat").splitlines() if line.startswith("TcpExt:"))
    return int(values[names.index("ListenOverflows")])


def _interfaces() -> Iterator[str]:
    names = [line.split(":")[0].strip() for line in _read("/proc/net/dev").splitlines()[2:]]
    control = socket(AF_INET, SOCK_DGRAM)
    try:
        for name in names:
            if name != "lo":
                answer = fcntl.ioctl(control.fileno(), _SIOCGIFFLAGS, name.encode().ljust(40, b"\0"))
                flags = int.from_bytes(answer[16:18], "little")
                is_up = flags & _IFF_UP != 0 and flags & _IFF_RUNNING != 0
                yield sample(INTERFACE_UP, (name,), int(is_up))
    finally:
        control.close()


def _read(path: str) -> str:
    with open(path, encoding="ascii") as file:
        return file.read(_LARGEST_FILE)


_MEASURES: tuple[tuple[Metric, Callable[[], float]], ...] = (
    (CONNTRACK_ENTRIES, lambda: int(_read(f"{_CONNTRACK}count"))),
    (CONNTRACK_LIMIT, lambda: int(_read(f"{_CONNTRACK}max"))),
    (CPU_STEAL, _steal_seconds),
    (SOFTNET_DROPPED, _softnet_dropped),
    (TCP_MEMORY, _tcp_memory),
    (LISTEN_OVERFLOWS, _listen_overflows),
)
