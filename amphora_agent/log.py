"""Logging to stderr for journald, and to the amphora's syslog socket when there is one. Never blocks, never raises."""

from __future__ import annotations

import contextlib
import logging
import socket
import sys

SYSLOG_SOCKET = "/run/rsyslog/octavia/log"
FACILITY_LOCAL0 = 16
_PRIORITY = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, logging.CRITICAL: 2}


class JournalFormatter(logging.Formatter):
    """Prefix each line with `<3>`..`<7>`, so that journald keeps the priority. Source: sd-daemon(3)."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one string; every line of it carries the prefix."""
        prefix = f"<{_PRIORITY.get(record.levelno, 6)}>"
        return "\n".join(prefix + line for line in super().format(record).splitlines())


class SyslogDatagramHandler(logging.Handler):
    """Send records to a datagram syslog socket; a missing or full one loses the line, never the caller.

    Args:
        address: path of the UNIX datagram socket.
        facility: 0-7, the N of local<N>.
        identifier: the programme name rsyslog sorts by.
    """

    def __init__(self, address: str, facility: int, identifier: str) -> None:
        super().__init__()
        self._address = address
        self._base = (FACILITY_LOCAL0 + facility) * 8
        self._identifier = identifier
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)

    def emit(self, record: logging.LogRecord) -> None:
        """Send one datagram."""
        priority = self._base + _PRIORITY.get(record.levelno, 6)
        text = f"<{priority}>{self._identifier}[{record.process}]: {self.format(record)}"
        with contextlib.suppress(OSError):
            self._socket.sendto(text.encode("utf-8", "replace")[:8192], self._address)


def configure(*, debug: bool, facility: int | None, identifier: str) -> None:
    """Set up the root logger of this process; calling it again replaces the previous set-up.

    Args:
        debug: log at DEBUG instead of INFO.
        facility: 0-7 to log to the syslog socket as local<N> too, None for stderr only.
        identifier: programme name in syslog.
    """
    stderr = logging.StreamHandler(sys.stderr)
    stderr.setFormatter(JournalFormatter("%(message)s"))
    handlers: list[logging.Handler] = [stderr]
    if facility is not None:
        handlers.append(SyslogDatagramHandler(SYSLOG_SOCKET, facility, identifier))
    # Nobody prints thread names, and asking for one keeps a record of every thread that entered a namespace.
    logging.logThreads = False
    logging.basicConfig(level=logging.DEBUG if debug else logging.INFO, handlers=handlers, force=True)
