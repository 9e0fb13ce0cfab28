"""Processes we did not start, those of an agent before ours and workers of HAProxy: ended. Starts none."""

from __future__ import annotations

import signal

from amphora_agent.core.process_id import ProcessId
from amphora_agent.errors import HostFailure
from amphora_agent.host import signals
from amphora_agent.host.deadline import Deadline
from amphora_agent.host.procfs import parent_pid, pids, process_start_time

STOP_TIMEOUT = 20.0
POLL_INTERVAL = 0.02


def end(pid: int) -> None:
    """End a process and its children: SIGTERM, then SIGKILL; return when all of them are gone.

    Raises:
        HostFailure: it cannot be signalled, or survives.
    """
    family = {each: process_start_time(each) for each in (pid, *children(pid))}
    for number in (signal.SIGTERM, signal.SIGKILL):
        for each in (pid,) if number is signal.SIGTERM else family:
            _signal(each, number, family[each])
        for _ in Deadline.after(STOP_TIMEOUT).attempts(POLL_INTERVAL):
            if all(began is None or process_start_time(each) != began for each, began in family.items()):
                return
    raise HostFailure(f"cannot end process {pid}", "it survives SIGKILL")


def kill(process: ProcessId) -> None:
    """Send SIGKILL to a process, unless it is gone.

    Raises:
        HostFailure: it cannot be signalled.
    """
    _signal(process.pid, signal.SIGKILL, process.started)


def _signal(pid: int, number: signal.Signals, started: int | None) -> None:
    if started is not None and process_start_time(pid) == started:
        signals.send(pid, number)


def children(pid: int) -> tuple[int, ...]:
    """Return the processes whose parent this is."""
    return tuple(each for each in pids() if parent_pid(each) == pid)
