"""A wait that ends early: when somebody calls, or when a process ends. Looks at no clock and decides nothing."""

from __future__ import annotations

import contextlib
import os
import select
import threading
from collections.abc import Sequence

# Where no descriptor is left to wait for processes by.
BLIND_SECONDS = 0.5


class WakeUp:
    """What one thread waits on and any other calls; a call before the wait ends it at once."""

    def __init__(self) -> None:
        self._called = threading.Event()
        self._door: int | None = None

    def call(self) -> None:
        """End the wait."""
        self._called.set()
        if self._door is not None:
            os.eventfd_write(self._door, 1)

    def wait(self, seconds: float, pids: Sequence[int] = ()) -> None:
        """Wait until somebody calls, one of the processes ends, or that many seconds are over.

        Without descriptors for it the wait is short, so that the caller looks for itself.
        """
        if not pids:
            self._called.wait(seconds)
        else:
            try:
                self._wait_for_processes(seconds, pids)
            except OSError:
                self._called.wait(min(seconds, BLIND_SECONDS))
        self._called.clear()

    def _wait_for_processes(self, seconds: float, pids: Sequence[int]) -> None:
        if self._door is None:
            self._door = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        if self._called.is_set():
            return
        poll = select.poll()
        poll.register(self._door, select.POLLIN)
        with contextlib.ExitStack() as stack:
            try:
                for pid in pids:
                    handle = os.pidfd_open(pid)
                    stack.callback(os.close, handle)
                    poll.register(handle, select.POLLIN)
            except ProcessLookupError:
                return
            poll.poll(seconds * 1000)
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._door)
