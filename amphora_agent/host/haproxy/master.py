"""Whether HAProxy is up and whether a reload took: asked of its master and its worker, never guessed.

Decision: `systemctl reload` and SIGUSR2 return before the new worker is ready, and HAProxy 2.6's `reload` command does
too. The master counts reloads and failed ones, so we wait for the count to move and then for the new worker to answer
on its own socket; the same on every version from 2.6 on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

from amphora_agent.core.haproxy.process import Processes, parse_processes
from amphora_agent.core.process_id import ProcessId
from amphora_agent.errors import HostFailure
from amphora_agent.host.haproxy.socket import query
from amphora_agent.host.procfs import process_start_time

QUERY_TIMEOUT = 2.0
READY_DEADLINE = 45.0
POLL_INTERVAL = 0.005
LONGEST_POLL_INTERVAL = 0.1


def processes(master_socket: Path) -> Processes | None:
    """Return the master's view of its workers, None while it does not answer."""
    try:
        return parse_processes(query(master_socket, "show proc", QUERY_TIMEOUT).decode("utf-8", "replace"))
    except HostFailure:
        return None


def await_master(master_socket: Path, is_alive: Callable[[], bool]) -> Processes:
    """Wait until the master answers; around a start or a reload it does not, for a while.

    Raises:
        HostFailure: `is_alive` says the process is gone, or the deadline passed.
    """
    for _ in _until(READY_DEADLINE):
        now = processes(master_socket)
        if now is not None:
            return now
        if not is_alive():
            raise HostFailure("cannot reload HAProxy", "the process ended")
    raise HostFailure("cannot reload HAProxy", f"its master does not answer within {READY_DEADLINE:g} s")


def worker_pid(admin_socket: Path) -> int | None:
    """Return the pid of the worker that answers on the admin socket, None when none does."""
    try:
        info = query(admin_socket, "show info", QUERY_TIMEOUT).decode("utf-8", "replace")
    except HostFailure:
        return None
    value = next((line.partition(":")[2].strip() for line in info.splitlines() if line.startswith("Pid:")), "")
    return int(value) if value.isdigit() else None


def current_worker(admin_socket: Path) -> ProcessId | None:
    """Return the worker that serves now, None when none answers."""
    pid = worker_pid(admin_socket)
    started = process_start_time(pid) if pid is not None else None
    return ProcessId(pid, started) if pid is not None and started is not None else None


def await_worker(admin_socket: Path, is_alive: Callable[[], bool]) -> ProcessId:
    """Wait until a worker answers on the admin socket.

    Raises:
        HostFailure: `is_alive` says the process is gone, or the deadline passed.
    """
    for _ in _until(READY_DEADLINE):
        worker = current_worker(admin_socket)
        if worker is not None:
            return worker
        if not is_alive():
            raise HostFailure("cannot start HAProxy", "the process ended before it was ready")
    raise HostFailure("cannot start HAProxy", f"not ready after {READY_DEADLINE:g} s")


def await_reload(master_socket: Path, admin_socket: Path, before: Processes, is_alive: Callable[[], bool]) -> ProcessId:
    """Wait until the reload asked for after `before` was seen has succeeded; return the new worker.

    A master that was replaced meanwhile (a crash, a supervisor's restart) has read the same files: that is success.

    Raises:
        HostFailure: the new worker could not start and the old one serves on, or the deadline passed.
    """
    for _ in _until(READY_DEADLINE):
        now = processes(master_socket)
        if now is None:
            if not is_alive():
                raise HostFailure("cannot reload HAProxy", "the process ended during the reload")
            continue
        if now.master_pid != before.master_pid:
            return await_worker(admin_socket, is_alive)
        if now.reloads <= before.reloads:
            continue
        if now.failed > 0:
            raise HostFailure("cannot reload HAProxy", "the new worker did not start; the old one serves on")
        worker = current_worker(admin_socket)
        if worker is not None and worker.pid in {w.pid for w in now.workers if w.reloads == 0}:
            return worker
    raise HostFailure("cannot reload HAProxy", f"no new worker after {READY_DEADLINE:g} s")


def _until(seconds: float) -> Iterator[None]:
    """Yield until the deadline, pausing a little longer each time."""
    deadline = time.monotonic() + seconds
    pause = POLL_INTERVAL
    while time.monotonic() < deadline:
        yield
        time.sleep(pause)
        pause = min(pause * 1.3, LONGEST_POLL_INTERVAL)
