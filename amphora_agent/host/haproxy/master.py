"""Whether HAProxy is up and whether a reload took: asked of its master and its worker, never guessed.

Decision: `systemctl reload` and SIGUSR2 return before the new worker is ready, and HAProxy 2.6's `reload` command does
too. The master counts reloads and failed ones, so we wait for the count to move and then for the new worker to answer
on its own socket; the same on every version from 2.6 on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from amphora_agent.core.haproxy.process import Info, Processes, ReloadStage, parse_info, parse_processes, reload_stage
from amphora_agent.core.haproxy.version import Version
from amphora_agent.core.paths import LoadBalancerPaths
from amphora_agent.core.process_id import ProcessId
from amphora_agent.errors import HostFailure, lacks_resources
from amphora_agent.host.deadline import Deadline
from amphora_agent.host.haproxy.socket import query
from amphora_agent.host.procfs import process_start_time

QUERY_TIMEOUT = 2.0
# How long a master is asked for its workers before a reload is asked of one that is silent.
MASTER_PATIENCE = 2.0
# A signal that the master has not followed after so long, and then twice as long, is lost.
SIGNAL_PATIENCE = 1.0
READY_DEADLINE = 45.0
POLL_INTERVAL = 0.005
LONGEST_POLL_INTERVAL = 0.1


@dataclass(frozen=True, slots=True)
class Worker:
    """The worker that serves now, and its version, None when it does not say."""

    process: ProcessId
    version: Version | None


def processes(master_socket: Path) -> Processes | None:
    """Return the master's view of its workers, None while it does not answer.

    Raises:
        HostFailure: there is no descriptor or memory to ask with; waiting would not tell what became of HAProxy.
    """
    answer = _ask(master_socket, "show proc")
    return None if answer is None else parse_processes(answer)


def _ask(path: Path, command: str) -> str | None:
    """Return an answer, None where there is none; raises as `processes`."""
    try:
        return query(path, command, QUERY_TIMEOUT).decode("utf-8", "replace")
    except HostFailure as error:
        if lacks_resources(error):
            raise
        return None


@dataclass(frozen=True, slots=True)
class Serving:
    """The worker that serves, and how to ask it: a socket and what to put before a command."""

    process: ProcessId
    socket: Path
    prefix: str = ""

    def ask(self, command: str, timeout: float) -> str:
        """Return its answer.

        Raises:
            HostFailure: there was none in time.
        """
        return query(self.socket, f"{self.prefix}{command}", timeout).decode("utf-8", "replace")


def ask_worker(admin_socket: Path) -> Worker | None:
    """Return the worker that answers on the admin socket, None when none does; raises as `processes`."""
    info = _ask_info(admin_socket)
    started = process_start_time(info.pid) if info is not None else None
    return Worker(ProcessId(info.pid, started), info.version) if info is not None and started is not None else None


def find_serving(paths: LoadBalancerPaths) -> Serving | None:
    """Return the worker that serves, whichever way it can be asked; None when none says that it does.

    Raises as `processes`.

    Its sockets' paths may lead nowhere: a reload that failed may have put another socket there for a moment.
    """
    worker = ask_worker(paths.admin_socket)
    if worker is not None:
        return Serving(worker.process, paths.admin_socket)
    known = processes(paths.master_socket)
    for pid in known.by_youth if known is not None else ():
        prefix = worker_prefix(pid)
        info = _ask_info(paths.master_socket, prefix)
        started = process_start_time(pid)
        if info is not None and not info.is_stopping and started is not None:
            return Serving(ProcessId(pid, started), paths.master_socket, prefix)
    return None


def worker_prefix(pid: int) -> str:
    """Return what has the master pass a command on to one of its workers."""
    return f"@!{pid} "


def _ask_info(path: Path, prefix: str = "") -> Info | None:
    answer = _ask(path, f"{prefix}show info")
    return None if answer is None else parse_info(answer)


def is_silent(master_socket: Path, pid: int) -> bool:
    """Tell whether a worker does not answer though its master passed the question on; false when that is not known."""
    if processes(master_socket) is None:
        return False
    answer = _ask(master_socket, f"{worker_prefix(pid)}show info")
    return answer is None and processes(master_socket) is not None


def await_master(
    master_socket: Path, is_alive: Callable[[], bool], takes_signal: Callable[[], bool]
) -> Processes | None:
    """Wait until the master answers, or is seen to take a signal without; around a start it does neither.

    Decision: a master that does not answer is signalled all the same. Each question passed on to a worker that hangs
    occupies one of the master's ten sessions for as long as that worker lives, and the reload is what ends them.

    Returns: what it said; None when it is silent and can be signalled.

    Raises:
        HostFailure: `is_alive` says the process is gone, or the deadline passed.
    """
    patience = Deadline.after(MASTER_PATIENCE)
    for _ in Deadline.after(READY_DEADLINE).attempts(POLL_INTERVAL, LONGEST_POLL_INTERVAL):
        now = processes(master_socket)
        if now is not None:
            return now
        if not is_alive():
            raise HostFailure("cannot reload HAProxy", "the process ended")
        if patience.left() <= 0 and takes_signal():
            return None
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


def await_reload(
    paths: LoadBalancerPaths,
    before: Processes | None,
    replaced: ProcessId | None,
    is_alive: Callable[[], bool],
    signal_again: Callable[[], None],
) -> ProcessId:
    """Wait until the reload asked for after `before` was seen has succeeded; return the new worker.

    A master that was replaced meanwhile (a crash, a supervisor's restart) has read the same files: that is success.
    HAProxy 3.1 and later lose a signal that comes while their first worker starts; it is sent again then.

    Args:
        paths: of the load balancer.
        before: what the master said before it was asked, None when it was silent.
        replaced: the worker that is to be replaced, None when it is not known.
        is_alive: tells whether the master lives.
        signal_again: asks it for a reload once more.

    Raises:
        HostFailure: the new worker could not start and the old one serves on, or the deadline passed.
    """
    patience = Deadline.after(SIGNAL_PATIENCE)
    for _ in Deadline.after(READY_DEADLINE).attempts(POLL_INTERVAL, LONGEST_POLL_INTERVAL):
        now = processes(paths.master_socket)
        if now is None:
            if not is_alive():
                raise HostFailure("cannot reload HAProxy", "the process ended during the reload")
            continue
        match reload_stage(before, now):
            case ReloadStage.MASTER_REPLACED:
                return await_worker(paths.admin_socket, is_alive)
            case ReloadStage.FAILED:
                raise HostFailure("cannot reload HAProxy", "the new worker did not start; the old one serves on")
            case ReloadStage.SUCCEEDED:
                worker = ask_worker(paths.admin_socket)
                if worker is not None and worker.process.pid in now.current_pids and worker.process != replaced:
                    return worker.process
            case ReloadStage.UNDER_WAY if patience.left() <= 0:
                signal_again()
                patience = Deadline.after(patience.seconds * 2)
            case ReloadStage.UNDER_WAY:
                continue
    raise HostFailure("cannot reload HAProxy", f"no new worker after {READY_DEADLINE:g} s")
