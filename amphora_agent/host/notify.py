"""Tell the service manager how this process is: one datagram, lost without harm when nobody listens.

Without a service manager it is `host/keeper.py` that listens.
"""

from __future__ import annotations

import contextlib
import os
import socket


def notify(state: str) -> None:
    """Send `READY=1`, `WATCHDOG=1`, `STOPPING=1` or `STATUS=...`. Source: sd_notify(3)."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as door:
        door.setblocking(False)
        door.sendto(state.encode(), address.replace("@", "\0", 1) if address.startswith("@") else address)


def feeding_interval() -> float | None:
    """Return the seconds after which to say `WATCHDOG=1` again, None when nobody waits for it.

    Source: sd_watchdog_enabled(3), which recommends half of what is allowed.
    """
    text = os.environ.get("WATCHDOG_USEC", "")
    return int(text) / 2_000_000 if text.isdigit() and int(text) else None
