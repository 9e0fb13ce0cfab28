"""The wish to end a process, as something to wait for. A signal that arrives at any time ends a wait at once."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Callable

_ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
_IGNORED = (signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP)


class Termination:
    """Catches the signals that end a process; log rotation's and others are ignored.

    Not for a process with a signal handling of its own: there is one wake-up descriptor for all signals.
    """

    def __init__(self) -> None:
        self._read, self._write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._poll = select.poll()
        self._poll.register(self._read, select.POLLIN)
        self._others: dict[int, Callable[[], object]] = {}
        for number in _ENDING:
            signal.signal(number, lambda _number, _frame: None)
        for number in _IGNORED:
            signal.signal(number, signal.SIG_IGN)
        signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)

    def watch(self, descriptor: int, ready: Callable[[], object]) -> None:
        """End every wait when something can be read there, too, after calling `ready`, which has to read it."""
        self._others[descriptor] = ready
        self._poll.register(descriptor, select.POLLIN)

    def forget(self, descriptor: int) -> None:
        """Watch a descriptor no more."""
        del self._others[descriptor]
        self._poll.unregister(descriptor)

    def wait(self, seconds: float) -> bool:
        """Wait for that many seconds or until there is something to do; true at once when the process is to end."""
        found = {descriptor for descriptor, _ in self._poll.poll(max(0.0, seconds) * 1000)}
        for descriptor in found - {self._read}:
            self._others[descriptor]()
        return self._read in found

    def close(self) -> None:
        """Let go of the descriptors, in a process forked from this one; signals have their default effects again."""
        signal.set_wakeup_fd(-1)
        for number in (*_ENDING, *_IGNORED):
            signal.signal(number, signal.SIG_DFL)
        os.close(self._read)
        os.close(self._write)
