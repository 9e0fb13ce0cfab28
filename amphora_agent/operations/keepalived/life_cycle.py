"""The life of one keepalived, be it VRRP's or an LVS listener's: start and wait, remember what it was given, stop.

Knows nothing of VIPs, checks or IPVS.

Decision: a keepalived that something else started - an agent that was replaced in place, its unit, an operator - is
replaced by one of ours at the first start, reload or stop, under either supervisor. It costs one change of roles, or
one restart of a listener, and from then on what runs is what the supervisor keeps running and stops.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from amphora_agent.core.ids import ListenerId
from amphora_agent.core.keepalived.process import PROGRAM, lvs_unit, vrrp_unit
from amphora_agent.core.paths import Paths
from amphora_agent.core.process_id import ProcessId
from amphora_agent.core.records import keepalived as keepalived_record
from amphora_agent.core.records.keepalived import KeepalivedRecord
from amphora_agent.core.units import Unit
from amphora_agent.errors import HostFailure
from amphora_agent.host import files
from amphora_agent.host.deadline import Deadline
from amphora_agent.host.keepalived import processes
from amphora_agent.host.network import netns
from amphora_agent.host.procfs import is_program, process_start_time, read_pid, running_pid
from amphora_agent.operations.amphora import Change

LOG = logging.getLogger(__name__)

START_DEADLINE = 20.0
POLL_INTERVAL = 0.02
PID_FILE_MODE = 0o644


@dataclass(frozen=True, slots=True, kw_only=True)
class Keepalived:
    """One keepalived: its process, and the files that say what it shall do, what it does and what it was given.

    Attributes:
        name: what the log calls it, such as `listener=ID`.
        directory: where the record is; made when it is missing.
    """

    name: str
    unit: Unit
    config: Path
    pid_file: Path
    directory: Path
    record: Path


def of_vrrp(paths: Paths) -> Keepalived:
    """Return the keepalived that holds the VIP."""
    return Keepalived(
        name="vrrp",
        unit=vrrp_unit(paths),
        config=paths.vrrp.config,
        pid_file=paths.vrrp.pid,
        directory=paths.vrrp.agent,
        record=paths.vrrp.applied,
    )


def of_listener(paths: Paths, listener_id: ListenerId) -> Keepalived:
    """Return the keepalived of one UDP or SCTP listener."""
    lvs = paths.lvs(listener_id)
    return Keepalived(
        name=f"listener={listener_id}",
        unit=lvs_unit(paths, listener_id),
        config=lvs.config,
        pid_file=lvs.pid,
        directory=lvs.agent,
        record=lvs.applied,
    )


def is_alive(keepalived: Keepalived) -> bool:
    """Tell whether it runs, by its own pid file; an empty or garbled one, or that of another instance, means no."""
    return running_pid(keepalived.pid_file, PROGRAM, keepalived.config) is not None


def start(change: Change, keepalived: Keepalived, reason: str) -> None:
    """Start it, now and at each boot, and wait until it has written its pid file.

    Raises:
        HostFailure: it does not come up.
    """
    unit = keepalived.unit
    netns.ensure(change.paths.netns)
    end_others(change, keepalived)
    files.make_directory(keepalived.directory, 0o700)
    _remove_pid_files(keepalived)
    change.supervisor.enable(unit)
    change.supervisor.start(unit)
    for _ in Deadline.after(START_DEADLINE).attempts(POLL_INTERVAL):
        if is_alive(keepalived):
            LOG.info("started keepalived %s pid=%s reason=%s", keepalived.name, read_pid(keepalived.pid_file), reason)
            return
        if change.supervisor.main_pid(unit) is None:
            break
    raise HostFailure("cannot start keepalived", "it wrote no pid file")


def end_others(change: Change, keepalived: Keepalived) -> bool:
    """End what works on the same configuration and is not the supervisor's; return whether there was any such.

    Nothing would start it again when it ends, and two that hold one VIP or one listener are worse than none.

    Raises:
        HostFailure: one survives.
    """
    found = processes.find(keepalived.config, keepalived.pid_file, change.paths.netns)
    own = change.supervisor.adopt(keepalived.unit) if found else None
    others = [pid for pid in found if pid != own]
    for pid in others:
        LOG.warning("ending a keepalived that something else started %s pid=%d", keepalived.name, pid)
        change.supervisor.end_foreign(pid)
    return bool(others)


def stop(change: Change, keepalived: Keepalived) -> None:
    """Stop it and forget what it was given; one that does not run is fine.

    Raises:
        HostFailure: it still runs.
    """
    change.supervisor.stop(keepalived.unit)
    end_others(change, keepalived)
    files.remove_volatile(keepalived.record)
    _remove_pid_files(keepalived)
    LOG.info("stopped keepalived %s", keepalived.name)


def mend_pid_file(change: Change, keepalived: Keepalived) -> None:
    """Write the pid file again when something has spoilt it: heartbeats and keepalived's checks rely on it."""
    pid = None if is_alive(keepalived) else change.supervisor.main_pid(keepalived.unit)
    if pid is not None and is_program(pid, PROGRAM):
        LOG.warning("wrote the pid file of keepalived again %s pid=%d", keepalived.name, pid)
        files.write_atomic(keepalived.pid_file, f"{pid}\n".encode(), PID_FILE_MODE)


def recorded(keepalived: Keepalived) -> KeepalivedRecord | None:
    """Return what a keepalived was last given, running or not; None when that is not known."""
    return keepalived_record.decode(files.read_optional(keepalived.record))


def was_given(keepalived: Keepalived, text: str) -> bool:
    """Tell whether the very process that runs was given this configuration."""
    record = recorded(keepalived)
    return record is not None and record == _record(keepalived, text)


def remember(keepalived: Keepalived, text: str) -> None:
    """Record that the running process was given this configuration.

    Raises:
        HostFailure: it ended, or the disk refused.
    """
    record = _record(keepalived, text)
    if record is None:
        raise HostFailure("cannot run keepalived", "it ended")
    files.make_directory(keepalived.directory, 0o700)
    files.write_volatile(keepalived.record, keepalived_record.encode(record))


@contextlib.contextmanager
def reported_with_log(change: Change, keepalived: Keepalived, message: str) -> Iterator[None]:
    """Re-raise a HostFailure under the contract's message, its own text and keepalived's last lines in the detail."""
    try:
        yield
    except HostFailure as error:
        words = f"{error}: {error.detail}\n{change.supervisor.log_tail(keepalived.unit)}".strip()
        raise HostFailure(message, words) from error


def _record(keepalived: Keepalived, text: str) -> KeepalivedRecord | None:
    pid = read_pid(keepalived.pid_file)
    started = None if pid is None else process_start_time(pid)
    return None if pid is None or started is None else KeepalivedRecord(text, ProcessId(pid, started))


def _remove_pid_files(keepalived: Keepalived) -> None:
    for path in keepalived.unit.pid_files:
        files.remove(path)
