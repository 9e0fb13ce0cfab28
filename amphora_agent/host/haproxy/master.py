"""Whether HAProxy is up and whether a reload took: asked of its master and its worker, never guessed.

Decision: `systemctl reload` and SIGUSR2 return before the new worker is ready, and HAProxy 2.6's `reload` command does
too. The master counts reloads and failed ones, so we wait for the count to move and then for the new worker to answer
on its own socket; the same on every version from 2.6 on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from amphora_agent.core.haproxy.process import Processes, ReloadStage, parse_info, parse_processes, reload_stage
from amphora_agent.core.haproxy.version import Version
from amphora_agent.core.process_id import ProcessId
from amphora_agent.errors import HostFailure
from amphora_agent.host.deadline import Deadline
from amphora_agent.host.haproxy.socket import query
from amphora_agent.host.procfs import process_start_time

QUERY_TIMEOUT = 2.0
READY_DEADLINE = 45.0
POLL_INTERVAL = 0.005
LONGEST_POLL_INTERVAL = 0.1


@dataclass(frozen=True, slots=True)
class Worker:
    """The worker that serves now, and its version, None when it does not say."""

    process: ProcessId
    version: Version | None


def processes(master_socket: Path) -> Processes | None:
    """Return the master's view of its workers, None while it does not answer."""
    try:
        return parse_processes(query(master_socket, "show proc", QUERY_TIMEOUT).decode("utf-8", "replace"))
    except HostFailure:
        return None


def ask_worker(admin_socket: Path) -> Worker | None:
    """Return the worker that answers on the admin socket, None when none does."""
    try:
        info = parse_info(query(admin_socket, "show info", QUERY_TIMEOUT).decode("utf-8", "replace"))
    except HostFailure:
        return None
    started = process_start_time(info.pid) if info is not None else None
    return Worker(ProcessId(info.pid, started), info.version) if info is not None and started is not None else None


def await_master(master_socket: Path, is_alive: Callable[[], bool]) -> Processes:
    """Wait until the master answers; around a start or a reload it does not, for a while.

    Raises:
        HostFailure: `is_alive` says the process is gone, or the deadline passed.
    """
    for _ in Deadline.after(READY_DEADLINE).attempts(POLL_INTERVAL, LONGEST_POLL_INTERVAL):
        now = processes(master_socket)
        if now is not None:
            return now
        if not is_alive():
            raise HostFailure("cannot reload HAProxy", "the process ended")
    raise HostFailure("cannot reload HAProxy", f"its master does not answer within {READY_DEADLINE:g} s")


def await_worker(admin_socket: Path, is_alive: Callable[[], bool]) -> ProcessId:
    """Wait until a worker answers on the admin socket.

    Raises:
        HostFailure: `is_alive` says the process is gone, or the deadline passed.
    """
    for _ in Deadline.after(READY_DEADLINE).attempts(POLL_INTERVAL, LONGEST_POLL_INTERVAL):
        worker = ask_worker(admin_socket)
        if worker is not None:
            return worker.process
        if not is_alive():
            raise HostFailure("cannot start HAProxy", "the process ended before it was ready")
    raise HostFailure("cannot start HAProxy", f"not ready after {READY_DEADLINE:g} s")


def await_reload(master_socket: Path, admin_socket: Path, before: Processes, is_alive: Callable[[], bool]) -> ProcessId:
    """Wait until the reload asked for after `before` was seen has succeeded; return the new worker.

    A master that was replaced meanwhile (a crash, a supervisor's restart) has read the same files: that is success.

    Raises:
        HostFailure: the new worker could not start and the old one serves on, or the deadline passed.
    """
    for _ in Deadline.after(READY_DEADLINE).attempts(POLL_INTERVAL, LONGEST_POLL_INTERVAL):
        now = processes(master_socket)
        if now is None:
            if not is_alive():
                raise HostFailure("cannot reload HAProxy", "the process ended during the reload")
            continue
        match reload_stage(before, now):
            case ReloadStage.MASTER_REPLACED:
                return await_worker(admin_socket, is_alive)
            case ReloadStage.FAILED:
                raise HostFailure("cannot reload HAProxy", "the new worker did not start; the old one serves on")
            case ReloadStage.SUCCEEDED:
                worker = ask_worker(admin_socket)
                if worker is not None and worker.process.pid in now.current_pids:
                    return worker.process
            case ReloadStage.UNDER_WAY:
                continue
    raise HostFailure("cannot reload HAProxy", f"no new worker after {READY_DEADLINE:g} s")
