"""Where no service manager does it: keeps the agent's processes running, forked from one that has nothing else to do.

It speaks systemd's protocol with the one that serves requests: `READY=1` and `WATCHDOG=1` come by NOTIFY_SOCKET, and
are handed on to whoever started the agent.

Decision: a fork without exec. The processes then share the modules that all of them need, which saves 5 MB on a machine
of 1 GB, and start without the interpreter's 50 ms. It costs care: the child lets go of every signal handler and
descriptor of its parent before anything else, and the parent never has a second thread.
"""

from __future__ import annotations

import ctypes
import gc
import logging
import os
import signal
import socket
import struct
import time
from collections.abc import Callable
from typing import NoReturn

from amphora_agent.core.backoff import Backoff
from amphora_agent.host.notify import notify
from amphora_agent.host.termination import Termination

LOG = logging.getLogger(__name__)

FRESH = Backoff(first=1.0, longest=30.0, settled_after=60.0)
EXIT_CRASHED = 70
LONGEST_SLEEP = 3600.0
# As long as systemd waits for a service by default.
START_SECONDS = 90.0
_STOP_POLL = 0.01
_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15
_CREDENTIALS = struct.Struct("3i")
_MESSAGE_BYTES = 4096


class Child:
    """One process to keep running.

    Args:
        name: the process's name, at most 15 bytes of it are seen.
        main: what it runs; returns its exit code.
        stop_seconds: how long it may take to end after SIGTERM.
        watchdog: seconds within which it has to say `WATCHDOG=1` again and again once it has said `READY=1`; None when
            it says nothing. If one that is watched ends before it was ever ready, it cannot start, and all end.
    """

    def __init__(self, name: str, main: Callable[[], int], stop_seconds: float, watchdog: float | None = None) -> None:
        self.name = name
        self.main = main
        self.stop_seconds = stop_seconds
        self.watchdog = watchdog
        self.pid: int | None = None
        self.handle = -1
        self.is_proven = watchdog is None
        self.is_ready = False
        self.heard = 0.0
        self.backoff = FRESH

    def due(self, now: float) -> float:
        """Return when something has to be done if nothing is heard until then: a start, or an end by force."""
        if self.pid is None:
            return (self.backoff.started or now) + self.backoff.pause
        return now + LONGEST_SLEEP if self.patience is None else self.heard + self.patience

    @property
    def patience(self) -> float | None:
        """How long nothing has to be heard from it before it counts as hung."""
        return self.watchdog if self.watchdog is None or self.is_ready else max(self.watchdog, START_SECONDS)


class Keeper:
    """Runs its children until a signal ends it; a process of one thread, with nothing open but the standard streams."""

    def __init__(self, children: tuple[Child, ...]) -> None:
        self._children = children
        self._termination = Termination()
        self._door = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._door.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self._door.bind("")  # the kernel finds an abstract name
        self._door.setblocking(False)
        self._termination.watch(self._door.fileno(), self._listen)
        self._code: int | None = None

    def run(self) -> int:
        """Keep the children running; return the exit code."""
        while self._code is None:
            now = time.monotonic()
            for child in self._children:
                self._look_after(child, now)
            if self._termination.wait(min(child.due(now) for child in self._children) - now):
                break
        notify("STOPPING=1")
        for child in self._children:
            _signal(child, signal.SIGTERM)
        for child in self._children:
            self._await_end(child)
        return self._code or 0

    def _look_after(self, child: Child, now: float) -> None:
        if child.pid is None:
            if child.backoff.is_over(now):
                self._start(child, now)
        elif child.patience is not None and now - child.heard >= child.patience:
            LOG.error("killing a process that hangs name=%s pid=%d", child.name, child.pid)
            _signal(child, signal.SIGKILL)
            child.heard = now

    def _start(self, child: Child, now: float) -> None:
        child.backoff, child.heard, child.is_ready = child.backoff.after_start(now), now, False
        gc.freeze()
        parent, pid = os.getpid(), os.fork()
        if pid == 0:
            self._be_child(child, parent)
        child.pid, child.handle = pid, os.pidfd_open(pid)
        self._termination.watch(child.handle, lambda: self._reap(child))

    def _reap(self, child: Child) -> None:
        """Note that a child has ended."""
        self._termination.forget(child.handle)
        os.close(child.handle)
        _, status = os.waitpid(child.pid or 0, 0)
        LOG.warning("a process ended name=%s pid=%d", child.name, child.pid)
        child.pid = None
        if not child.is_proven:
            self._code = os.waitstatus_to_exitcode(status) or EXIT_CRASHED

    def _listen(self) -> None:
        """Take what children say, and hand it on to the service manager if there is one."""
        data, ancillary, _, _ = self._door.recvmsg(_MESSAGE_BYTES, socket.CMSG_SPACE(_CREDENTIALS.size))
        senders = [_CREDENTIALS.unpack(value)[0] for _, kind, value in ancillary if kind == socket.SCM_CREDENTIALS]
        for child in self._children:
            if child.pid in senders:
                child.heard = time.monotonic()
                child.is_ready = child.is_ready or b"READY=1" in data.split(b"\n")
                child.is_proven = child.is_proven or child.is_ready
                notify(data.decode("utf-8", "replace"))

    def _await_end(self, child: Child) -> None:
        """Wait for a child that was told to end; it is killed when its time is over."""
        deadline = time.monotonic() + child.stop_seconds
        while child.pid is not None:
            pid, _ = os.waitpid(child.pid, os.WNOHANG)
            if pid:
                child.pid = None
            elif time.monotonic() > deadline:
                _signal(child, signal.SIGKILL)
            time.sleep(0 if pid else _STOP_POLL)

    def _be_child(self, child: Child, parent: int) -> NoReturn:
        """Become the child; never returns into the parent's stack."""
        code = EXIT_CRASHED
        try:
            address = self._door.getsockname()
            self._termination.close()
            self._door.close()
            for other in self._children:
                if other.pid is not None:
                    os.close(other.handle)
            _tell_environment(address, child.watchdog)
            libc = ctypes.CDLL(None)
            libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
            libc.prctl(_PR_SET_NAME, child.name.encode())
            if os.getppid() == parent:
                code = child.main()
        except Exception:
            LOG.exception("a process crashed name=%s", child.name)
        finally:
            os._exit(code)


def _tell_environment(address: bytes, watchdog: float | None) -> None:
    """Tell this process, by its environment, whom to notify, as sd_watchdog_enabled(3) says."""
    for name in ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"):
        os.environ.pop(name, None)
    if watchdog is not None:
        os.environ["NOTIFY_SOCKET"] = "@" + address[1:].decode()
        os.environ["WATCHDOG_USEC"] = str(int(watchdog * 1_000_000))


def _signal(child: Child, number: int) -> None:
    if child.pid is not None:
        os.kill(child.pid, number)
