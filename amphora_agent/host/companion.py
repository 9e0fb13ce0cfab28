"""A process that lives exactly as long as the agent: forked from it, forked again when it dies, ended with it.

Decision: a fork without exec. The heartbeat process then shares the interpreter's memory with its parent, which saves
5 MB on a machine of 1 GB, and it starts without the interpreter's 50 ms. It costs care: the child drops every signal
handler, timer and file descriptor of its parent before anything else.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import signal
import time
from collections.abc import Callable
from typing import NoReturn

from amphora_agent.core.backoff import Backoff
from amphora_agent.host.deadline import Deadline

LOG = logging.getLogger(__name__)

FIRST_PAUSE = 1.0
LONGEST_PAUSE = 30.0
SETTLED_AFTER = 60.0
STOP_TIMEOUT = 5.0
EXIT_CRASHED = 70
_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15


class Companion:
    """Keeps one function running in a process of its own; not thread-safe, since one loop owns it.

    Args:
        name: the process's name, at most 15 bytes of it are seen.
        main: what it runs; returns its exit code.
    """

    def __init__(self, name: str, main: Callable[[], int]) -> None:
        self._name = name
        self._main = main
        self._pid: int | None = None
        self._backoff = Backoff(first=FIRST_PAUSE, longest=LONGEST_PAUSE, settled_after=SETTLED_AFTER)

    def keep_running(self) -> None:
        """Start the process unless it runs; after a crash only once a pause, doubling each time, is over."""
        if self._pid is not None:
            if _is_child_alive(self._pid):
                return
            LOG.warning("companion ended name=%s pid=%d", self._name, self._pid)
            self._pid = None
        now = time.monotonic()
        if not self._backoff.is_over(now):
            return
        self._backoff = self._backoff.after_start(now)
        parent = os.getpid()
        self._pid = os.fork()
        if self._pid == 0:
            self._be_child(parent)

    def stop(self) -> None:
        """End the process and wait for it, a few seconds at most."""
        pid, self._pid = self._pid, None
        if pid is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
            for _ in Deadline.after(STOP_TIMEOUT).attempts(0.01):
                if not _is_child_alive(pid):
                    return
            os.kill(pid, signal.SIGKILL)

    def _be_child(self, parent: int) -> NoReturn:
        """Become the companion; never returns into the parent's stack."""
        code = EXIT_CRASHED
        try:
            signal.set_wakeup_fd(-1)
            for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP, signal.SIGPIPE}:
                with contextlib.suppress(OSError, ValueError):
                    signal.signal(number, signal.SIG_DFL)
            libc = ctypes.CDLL(None)
            libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
            libc.prctl(_PR_SET_NAME, self._name.encode())
            os.closerange(3, os.sysconf("SC_OPEN_MAX"))
            if os.getppid() == parent:
                code = self._main()
        except Exception:
            LOG.exception("companion crashed name=%s", self._name)
        finally:
            os._exit(code)


def _is_child_alive(pid: int) -> bool:
    """Reap the child if it has ended; somebody else may have reaped it already."""
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == 0
    except ChildProcessError:
        return False
