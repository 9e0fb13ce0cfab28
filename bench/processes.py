"""Memory and CPU time of sets of processes, from /proc. Processes that end meanwhile count as nothing."""

from __future__ import annotations

import contextlib
import os
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

KIB = 1024
_FIELD = re.compile(r"^(Rss|Pss|Pss_Anon):\s+(\d+) kB$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes of a set of processes: shared pages counted fully (rss) and by share (pss), of it what is of no file."""

    processes: int
    rss: int
    pss: int
    anonymous: int


def memory(pids: Iterable[int]) -> Memory:
    """Return the memory of these processes."""
    count, rss, pss, anonymous = 0, 0, 0, 0
    for pid in pids:
        with contextlib.suppress(OSError):
            fields = dict(_FIELD.findall(Path(f"/proc/{pid}/smaps_rollup").read_text()))
            if fields:
                count, rss, pss = count + 1, rss + int(fields["Rss"]) * KIB, pss + int(fields["Pss"]) * KIB
                anonymous += int(fields.get("Pss_Anon", 0)) * KIB
    return Memory(count, rss, pss, anonymous)


def named(pids: Iterable[int], name: str) -> tuple[int, ...]:
    """Return those of the processes whose main thread has this name."""
    found = []
    for pid in pids:
        with contextlib.suppress(OSError):
            if Path(f"/proc/{pid}/comm").read_text().strip() == name:
                found.append(pid)
    return tuple(found)


def cpu_seconds(pids: Iterable[int]) -> float:
    """Return the CPU time these processes have used so far, all threads, to the nanosecond."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{pid}/task").iterdir():
                with contextlib.suppress(OSError):
                    total += int((task / "schedstat").read_text().split()[0])
    return total / 1e9


def whole_cpu_seconds(pids: Iterable[int]) -> float:
    """Return the CPU time these processes used so far, threads and children that ended included, to the clock tick."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            total += sum(map(int, fields[11:15]))
    return total / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def peak_rss(pids: Callable[[], Iterable[int]], interval: float = 0.02) -> Iterator[Callable[[], int]]:
    """Watch the processes during the block; the value yielded returns the highest sum of RSS seen, in bytes."""
    peak = 0
    done = threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.is_set():
            peak = max(peak, memory(pids()).rss)
            done.wait(interval)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield lambda: peak
    finally:
        done.set()
        watcher.join()


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    """Poll a condition; return whether it came true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True
