"""Which threads serve which requests, so that no kind of request takes the threads of another. Serves none itself.

Decision: changes are made one at a time, so a thread for each waiting change would be wasted, and with enough of them
none is left for reads. Each kind of request has threads of its own and a queue before them. Plugs are a kind too,
because they may wait seconds for a NIC that the cloud has not attached yet. The controller takes 503 for a failure and
gives the load balancer up, so a queue refuses only what could not be served within its patience anyway.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from enum import Enum


class Lane(Enum):
    """A kind of request: its name, how many are served at once, and how many more may wait."""

    READS = ("read", 4, 1000)
    CHANGES = ("change", 2, 64)
    PLUGS = ("plug", 8, 64)

    def __init__(self, label: str, threads: int, waiting: int) -> None:
        self.label = label
        self.threads = threads
        self.limit = threads + waiting


# Seconds; every wait inside a request has a shorter deadline, all of them together too.
LONGEST_SERVICE = 300.0
ALL_THREADS = sum(lane.threads for lane in Lane)
_READING = frozenset({b"GET", b"HEAD", b"OPTIONS"})
_PLUGGING = (b"/1.0/plug/", b"/2.0/interfaces/")


def lane_of(head: bytes) -> Lane:
    """Return the lane of a request.

    Args:
        head: its first line at least, not yet checked.
    """
    method, _, rest = head.partition(b" ")
    if method in _READING:
        return Lane.READS
    return Lane.PLUGS if rest.startswith(_PLUGGING) else Lane.CHANGES


class Lanes:
    """The threads of one worker; its methods are called from the event loop alone."""

    def __init__(self) -> None:
        self._pools = {lane: ThreadPoolExecutor(lane.threads, f"request-{lane.label}") for lane in Lane}
        self._unfinished = dict.fromkeys(Lane, 0)
        self._begun: dict[object, float] = {}

    def is_full(self, lane: Lane) -> bool:
        """Tell whether one more request would wait for too long."""
        return self._unfinished[lane] >= lane.limit

    def submit(self, lane: Lane, serve: Callable[[], object]) -> Future[object]:
        """Have a thread of the lane serve a request; call `finish` when it is done."""
        self._unfinished[lane] += 1
        return self._pools[lane].submit(self._serve, serve)

    def is_stuck(self, now: float) -> bool:
        """Tell whether a request has been served for so long that it will never end.

        Args:
            now: monotonic seconds.
        """
        return any(now - begun > LONGEST_SERVICE for begun in tuple(self._begun.values()))

    def finish(self, lane: Lane) -> None:
        """Count one request of the lane as served."""
        self._unfinished[lane] -= 1

    def _serve(self, serve: Callable[[], object]) -> object:
        ticket = object()
        self._begun[ticket] = time.monotonic()
        try:
            return serve()
        finally:
            del self._begun[ticket]

    def shutdown(self, *, wait: bool) -> None:
        """Start no more requests."""
        for pool in self._pools.values():
            pool.shutdown(wait=wait)
