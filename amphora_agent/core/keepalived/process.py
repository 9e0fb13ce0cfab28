"""How keepalived is started, and what a version of it can do. Builds and parses text; starts nothing.

Decision: keepalived runs in the foreground under either supervisor, so its life is the unit's life and no pid file
has to be believed; it still writes the contract's pid files, which the heartbeat and the checks read.

Decision: what starts keepalived removes those files first. They outlive a power cut, and keepalived 2.2 ends as
"already running" for as long as any process has such a pid, which may be for ever; 2.3 looks more closely.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from amphora_agent.core.ids import ListenerId
from amphora_agent.core.paths import Paths
from amphora_agent.core.units import Unit

KEEPALIVED = "/usr/sbin/keepalived"
PROGRAM = "keepalived"

# Source: keepalived's change log, 2.0.14: a reload restores servers whose checker was removed.
RELOADS_WELL_SINCE = (2, 0, 14)

_VERSION = re.compile(r"(?:\d+:|Keepalived v)?(\d{1,6})\.(\d{1,6})\.(\d{1,6})", re.IGNORECASE)
_FOREGROUND = ("--dont-fork", "--log-console", "--no-syslog")


def vrrp_unit(paths: Paths) -> Unit:
    """Return the process that holds the VIP; the pid file of its child is ours, so that two can share a machine."""
    return Unit(
        name="octavia-keepalived.service",
        argv=(
            *(KEEPALIVED, *_FOREGROUND, "-f", str(paths.vrrp.config)),
            *("-p", str(paths.vrrp.pid), "-r", str(paths.vrrp.child_pid)),
        ),
        netns=paths.netns,
        log=paths.vrrp.log,
        pid_files=(paths.vrrp.pid, paths.vrrp.child_pid),
    )


def lvs_unit(paths: Paths, listener_id: ListenerId) -> Unit:
    """Return the process that serves one UDP or SCTP listener.

    Each instance has pid files of its own for its children too: the built-in ones are shared by all instances.
    """
    parent, vrrp, check = paths.lvs(listener_id).pid, paths.lvs(listener_id).vrrp_pid, paths.lvs(listener_id).check_pid
    return Unit(
        name=f"octavia-keepalivedlvs@{listener_id}.service",
        argv=(
            *(KEEPALIVED, *_FOREGROUND, "-f", str(paths.lvs(listener_id).config)),
            *("-p", str(parent), "-r", str(vrrp), "-c", str(check)),
        ),
        netns=paths.netns,
        log=paths.lvs(listener_id).log,
        pid_files=(parent, vrrp, check),
    )


def names_file(command_line: Sequence[str], paths: Iterable[Path]) -> bool:
    """Tell whether an argument is one of these files, alone or behind an option as in `-fFILE` or `--use-file=FILE`."""
    wanted = tuple(str(path) for path in paths)
    return any(word.endswith(path) and "/" not in word.removesuffix(path) for word in command_line for path in wanted)


def can_reload(version: str) -> bool:
    """Tell whether LVS changes can be applied by SIGHUP; an unreadable version cannot.

    Args:
        version: of the package (`1:2.2.7-1+b2`) or as keepalived prints it (`Keepalived v2.2.7 (01/16,2022)`).
    """
    match = _VERSION.match(version)
    return match is not None and tuple(int(part) for part in match.groups()) >= RELOADS_WELL_SINCE
