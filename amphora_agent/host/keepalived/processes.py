"""The keepalived processes of a configuration, whoever started them. Ends and starts none.

Decision: a process is known by the configuration file or the pid file on its command line and by the namespace it is
in, not by a unit's name or a command line of ours: an older agent, an operator or another unit may have started it.
"""

from __future__ import annotations

from pathlib import Path

from amphora_agent.core.keepalived.process import PROGRAM, names_file
from amphora_agent.host import procfs
from amphora_agent.host.network import netns


def find(config: Path, pid_file: Path, namespace: Path) -> tuple[int, ...]:
    """Return the parents among the keepalived processes that use these files inside the namespace."""
    is_inside = netns.membership(namespace)
    found = {
        pid
        for pid in procfs.pids()
        if procfs.is_program(pid, PROGRAM)
        and names_file(procfs.command_line(pid), (config, pid_file))
        and is_inside(pid)
    }
    return tuple(sorted(pid for pid in found if procfs.parent_pid(pid) not in found))
