"""The keepalived processes of a configuration, whoever started them: found, and ended. Starts none.

Decision: a process is known by the configuration file or the pid file on its command line and by the namespace it is
in, not by a unit's name or a command line of ours: an older agent, an operator or another unit may have started it.
"""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

from amphora_agent.core.keepalived.process import PROGRAM, names_file
from amphora_agent.errors import HostFailure
from amphora_agent.host import procfs
from amphora_agent.host.deadline import Deadline
from amphora_agent.host.network import netns
from amphora_agent.host.supervisor import systemd

STOP_DEADLINE = 10.0
KILL_DEADLINE = 5.0
POLL_INTERVAL = 0.01


def find(config: Path, pid_file: Path, namespace: Path) -> tuple[int, ...]:
    """Return the parents among the keepalived processes that use these files inside the namespace."""
    found = {
        pid
        for pid in procfs.pids()
        if procfs.is_program(pid, PROGRAM)
        and names_file(procfs.command_line(pid), (config, pid_file))
        and netns.is_same(Path(f"/proc/{pid}/ns/net"), namespace)
    }
    return tuple(sorted(pid for pid in found if procfs.parent_pid(pid) not in found))


def end(pid: int) -> None:
    """End a keepalived and its children, and keep the unit it belongs to from starting it again.

    Raises:
        HostFailure: it survives even SIGKILL.
    """
    started = procfs.process_start_time(pid)
    unit = procfs.systemd_unit(pid)
    if unit is not None and PROGRAM in unit and systemd.is_booted():
        systemd.retire(unit)
    for number, seconds in ((signal.SIGTERM, STOP_DEADLINE), (signal.SIGKILL, KILL_DEADLINE)):
        if procfs.process_start_time(pid) != started:
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
        for _ in Deadline.after(seconds).attempts(POLL_INTERVAL):
            if procfs.process_start_time(pid) != started:
                return
    raise HostFailure("cannot end a keepalived", f"pid {pid} survives SIGKILL")
