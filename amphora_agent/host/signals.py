"""Signals to other processes. One that is gone is no error; one that cannot be signalled is the machine's failure."""

from __future__ import annotations

import os
from signal import Signals

from amphora_agent.errors import failing_as


def send(pid: int, number: Signals, *, to_group: bool = False) -> bool:
    """Send a signal and tell whether there was such a process.

    Args:
        pid: the process, or the leader of the group.
        number: the signal.
        to_group: send it to every process of the group.

    Raises:
        HostFailure: it cannot be signalled, such as another user's.
    """
    with failing_as(f"cannot signal process {pid}"):
        try:
            (os.killpg if to_group else os.kill)(pid, number)
        except ProcessLookupError:
            return False
    return True
