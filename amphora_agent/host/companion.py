"""A process that lives exactly as long as the agent: started with it, restarted when it dies, ended with it."""

from __future__ import annotations

import contextlib
import logging
import subprocess
import time
from collections.abc import Sequence

LOG = logging.getLogger(__name__)

FIRST_PAUSE = 1.0
LONGEST_PAUSE = 30.0
SETTLED_AFTER = 60.0
STOP_TIMEOUT = 5.0


class Companion:
    """Keeps one command running; not thread-safe, since one loop owns it.

    The kernel terminates the process when its parent dies, so a killed agent leaves none behind.
    """

    def __init__(self, argv: Sequence[str]) -> None:
        self._argv = ("setpriv", "--pdeathsig", "TERM", *argv)
        self._process: subprocess.Popen[bytes] | None = None
        self._started = 0.0
        self._pause = 0.0

    def keep_running(self) -> None:
        """Start the process unless it runs; after a crash only once a pause, doubling each time, is over."""
        now = time.monotonic()
        if self._process is not None:
            if self._process.poll() is None:
                return
            lived = now - self._started
            LOG.warning("companion ended argv=%s code=%s", self._argv[3], self._process.returncode)
            self._pause = (
                FIRST_PAUSE if lived > SETTLED_AFTER else min(max(FIRST_PAUSE, self._pause * 2), LONGEST_PAUSE)
            )
            self._process = None
        if now - self._started < self._pause:
            return
        self._started = now
        try:
            self._process = subprocess.Popen(self._argv, stdin=subprocess.DEVNULL)
        except OSError as error:
            self._pause = LONGEST_PAUSE
            LOG.error("cannot start %s: %s", self._argv[3], error)

    def stop(self) -> None:
        """End the process and wait for it, a few seconds at most."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_TIMEOUT)
            return
        process.kill()
