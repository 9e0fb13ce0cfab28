"""The HAProxy processes of a configuration, whoever started them. Ends and starts none."""

from __future__ import annotations

from pathlib import Path

from amphora_agent.host.network.netns import membership
from amphora_agent.host.procfs import command_line, parent_pid, pids, reads_config

_CHECK_ONLY = "-c"


def find(config: Path, namespace: Path) -> tuple[int, ...]:
    """Return the programs in a network namespace that were started with `-f` and this file, without their children.

    HAProxy's workers have the command line of their master; a mere check of the file is left out.
    """
    is_inside = membership(namespace)
    found = {
        pid for pid in pids() if is_inside(pid) and reads_config(pid, config) and _CHECK_ONLY not in command_line(pid)
    }
    return tuple(sorted(pid for pid in found if parent_pid(pid) not in found))
