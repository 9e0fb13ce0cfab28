"""Look at what the keepalived of one UDP or SCTP listener has made of its configuration. Changes nothing."""

from __future__ import annotations

from amphora_agent.core.heartbeat.document import Part
from amphora_agent.core.ids import ListenerId
from amphora_agent.core.keepalived.ipvs import Table
from amphora_agent.core.keepalived.lvs_config import LvsConfig
from amphora_agent.core.keepalived.lvs_status import is_settling, report
from amphora_agent.core.paths import LvsPaths
from amphora_agent.host.files import read_optional
from amphora_agent.host.procfs import TICKS_PER_SECOND, process_start_time
from amphora_agent.host.uptime import boot_seconds


def part_of(
    paths: LvsPaths, listener_id: ListenerId, config: LvsConfig, *, pid: int | None, table: Table | None
) -> Part:
    """Return what a listener serves, in the words of heartbeats.

    Args:
        paths: of the listener.
        listener_id: which.
        config: what it shall serve.
        pid: of its keepalived.
        table: the kernel's, None when it cannot be asked.

    Raises:
        HostFailure: a file of the listener cannot be read.
    """
    changed, has_checker = read_optional(paths.changed), paths.check_pid.exists()
    started = (process_start_time(pid or 0) or 0) / TICKS_PER_SECOND
    settling = not has_checker or is_settling(changed, started, boot_seconds(), config.check_interval)
    return report(listener_id, config, table, is_settling=settling)
